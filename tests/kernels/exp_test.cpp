#include "ditmoe/kernels/exp.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace ditmoe::kernels {
namespace {

TEST(ExpTest, IsWithinTwoUlpOfTheTruth) {
  for (double x = -87.3; x < 88.7; x += 0.00137) {
    const auto rounded = static_cast<float>(x);
    const double truth = std::exp(static_cast<double>(rounded));
    const auto nearest = static_cast<float>(truth);
    const double ulp = std::nextafter(nearest, std::numeric_limits<float>::infinity()) - nearest;
    ASSERT_LE(std::abs(exp_f32(rounded) - truth), 2.0 * ulp) << "at " << rounded;
  }
}

TEST(ExpTest, EndsOfTheRange) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exp_f32(0.0f), 1.0f);
  EXPECT_EQ(exp_f32(infinity), infinity);
  EXPECT_EQ(exp_f32(1e30f), infinity);
  EXPECT_EQ(exp_f32(-infinity), 0.0f);
  EXPECT_EQ(exp_f32(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(exp_f32(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isfinite(exp_f32(88.72f)));
  EXPECT_NEAR(exp_f32(-100.0f) / std::exp(-100.0f), 1.0f, 0.05f);  // 27 steps of the denormals
}

}  // namespace
}  // namespace ditmoe::kernels
