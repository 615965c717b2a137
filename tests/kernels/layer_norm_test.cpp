#include "ditmoe/kernels/layer_norm.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/layer_norm.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using tests::close;
using tests::normal_values;

TEST(LayerNormTest, ModulatedMatchesItsDefinition) {
  constexpr int64_t kRows = 3;
  for (const int64_t width : {1, 15, 16, 31, 72, 384}) {
    std::vector<float> x = normal_values(kRows * width, 1, 3.0f);
    for (float& value : x) {
      value += 10.0f;
    }
    const std::vector<float> shift = normal_values(width, 2);
    const std::vector<float> scale = normal_values(width, 3);
    std::vector<float> expected(x.size());
    ref::layer_norm_modulate(x.data(), shift.data(), scale.data(), kRows, width, expected.data());
    layer_norm_modulate(x.data(), shift.data(), scale.data(), kRows, width, x.data());
    EXPECT_TRUE(close(x, expected, 1e-5)) << width;
  }
}

TEST(LayerNormTest, AffineMatchesItsDefinitionOnStridedRows) {
  constexpr int64_t kRows = 5;
  for (const int64_t width : {7, 64, 72, 88}) {
    const int64_t stride = 3 * width;
    const std::vector<float> x = normal_values(kRows * stride, 4);
    const std::vector<float> weight = normal_values(width, 5);
    const std::vector<float> bias = normal_values(width, 6);
    std::vector<float> expected(static_cast<size_t>(kRows * width));
    std::vector<float> dst(expected.size());
    ref::layer_norm_affine(
        x.data(), stride, weight.data(), bias.data(), kRows, width, expected.data(), width);
    layer_norm_affine(
        x.data(), stride, weight.data(), bias.data(), kRows, width, dst.data(), width);
    EXPECT_TRUE(close(dst, expected, 1e-5)) << width;
  }
}

TEST(LayerNormTest, ConstantRowGivesTheShift) {
  std::vector<float> x(40, 3.5f);
  const std::vector<float> shift(40, -2.0f);
  const std::vector<float> scale(40, 1.0f);
  layer_norm_modulate(x.data(), shift.data(), scale.data(), 1, 40, x.data());
  EXPECT_EQ(x, shift);
}

TEST(LayerNormTest, NanStaysInItsRow) {
  std::vector<float> x = normal_values(2 * 20, 7);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> zeros(20);
  layer_norm_modulate(x.data(), zeros.data(), zeros.data(), 2, 20, x.data());
  EXPECT_TRUE(std::isnan(x[0]));
  EXPECT_TRUE(std::isnan(x[19]));
  EXPECT_TRUE(std::isfinite(x[20]));
}

}  // namespace
}  // namespace ditmoe::kernels
