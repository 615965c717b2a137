#include "ditmoe/kernels/silu.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/kernels/ref/silu.h"

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

}  // namespace
}  // namespace ditmoe::kernels
