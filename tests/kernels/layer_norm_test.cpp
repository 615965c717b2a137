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

TEST(LayerNormTest, ConstantRowGivesTheBias) {
  const std::vector<float> x(40, 3.5f);
  const std::vector<float> weight(40, 2.0f);
  const std::vector<float> bias(40, -2.0f);
  std::vector<float> dst(40);
  layer_norm_affine(x.data(), 40, weight.data(), bias.data(), 1, 40, dst.data(), 40);
  EXPECT_EQ(dst, bias);
}

TEST(LayerNormTest, NanStaysInItsRow) {
  std::vector<float> x = normal_values(2 * 20, 7);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> ones(20, 1.0f);
  std::vector<float> dst(x.size());
  layer_norm_affine(x.data(), 20, ones.data(), ones.data(), 2, 20, dst.data(), 20);
  for (size_t i = 0; i < dst.size(); ++i) EXPECT_EQ(std::isnan(dst[i]), i < 20) << i;
}

}  // namespace
}  // namespace ditmoe::kernels
