#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/gelu_tanh.h"
#include "ditmoe/kernels/ref/gelu_tanh.h"
#include "ditmoe/kernels/ref/silu.h"
#include "ditmoe/kernels/ref/swiglu.h"
#include "ditmoe/kernels/silu.h"
#include "ditmoe/kernels/swiglu.h"

#include "tests/support/arrays.h"

namespace ditmoe::kernels {
namespace {

using tests::close;
using tests::normal_values;

TEST(SiluTest, MatchesItsDefinition) {
  for (const int64_t size : {1, 7, 8, 33, 1000}) {
    const std::vector<float> src = normal_values(size, 1, 5.0f);
    std::vector<float> expected(src.size());
    ref::silu(src.data(), size, expected.data());
    std::vector<float> dst = src;
    silu(dst.data(), size, dst.data());
    EXPECT_TRUE(close(dst, expected, 1e-6)) << size;
  }
}

TEST(SiluTest, ExtremesAndNan) {
  EXPECT_EQ(silu(1e30f), 1e30f);
  EXPECT_EQ(silu(-200.0f), 0.0f);
  EXPECT_TRUE(std::isnan(silu(std::numeric_limits<float>::quiet_NaN())));
}

TEST(GeluTanhTest, MatchesItsDefinition) {
  for (const int64_t size : {1, 7, 8, 33, 1000}) {
    const std::vector<float> src = normal_values(size, 2, 4.0f);
    std::vector<float> expected(src.size());
    ref::gelu_tanh(src.data(), size, expected.data());
    std::vector<float> dst = src;
    gelu_tanh(dst.data(), size, dst.data());
    EXPECT_TRUE(close(dst, expected, 1e-6)) << size;
  }
}

TEST(GeluTanhTest, ExtremesAndNan) {
  std::vector<float> x = {1e4f, -1e4f, std::numeric_limits<float>::quiet_NaN()};
  gelu_tanh(x.data(), 3, x.data());
  EXPECT_EQ(x[0], 1e4f);
  EXPECT_EQ(x[1], 0.0f);
  EXPECT_TRUE(std::isnan(x[2]));
}

TEST(SwigluTest, MatchesItsDefinitionAndKeepsToItsColumns) {
  constexpr int64_t kRows = 3;
  for (const int64_t width : {1, 5, 16, 67}) {
    const int64_t stride = width + 2;
    const std::vector<float> src = normal_values(kRows * 2 * width, 3, 3.0f);
    std::vector<float> expected(static_cast<size_t>(kRows * stride), -7.0f);
    std::vector<float> dst = expected;
    ref::swiglu(src.data(), kRows, width, expected.data(), stride);
    swiglu(src.data(), kRows, width, dst.data(), stride);
    EXPECT_TRUE(close(dst, expected, 1e-6)) << width;
    EXPECT_EQ(dst[width], -7.0f);
    EXPECT_EQ(dst[2 * stride + width + 1], -7.0f);
  }
}

}  // namespace
}  // namespace ditmoe::kernels
