#include "ditmoe/diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <map>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/npz.h"

namespace ditmoe::diffusion {
namespace {

using ::testing::ElementsAre;

class ScheduleReferenceTest : public ::testing::Test {
 protected:
  std::span<const double> reference(const std::string& name) const {
    return formats::array(arrays_, name, kPath).as<double>();
  }

  // Equal to the reference but for the last bits of the smaller numbers.
  static void expect_near(std::span<const double> found, std::span<const double> expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 1e-11 * std::abs(expected[i]) + 1e-15) << "at " << i;
    }
  }

  static inline const std::string kPath = DITMOE_TEST_DATA "/schedule_linear1000.npz";
  const std::map<std::string, base::Tensor> arrays_ = formats::read_npz(kPath);
};

TEST_F(ScheduleReferenceTest, LinearTablesAgree) {
  const DdpmSchedule schedule = linear_schedule();
  expect_near(schedule.betas, reference("betas"));
  expect_near(schedule.alphas_cumprod, reference("alphas_cumprod"));
  expect_near(schedule.posterior_mean_coef_x0, reference("posterior_mean_coef1"));
  expect_near(schedule.posterior_mean_coef_xt, reference("posterior_mean_coef2"));
  expect_near(schedule.posterior_log_variance_clipped, reference("posterior_log_variance_clipped"));
}

TEST_F(ScheduleReferenceTest, RespacedTo250Agrees) {
  const DdpmSchedule schedule = respace(linear_schedule(), 250);
  expect_near(schedule.betas, reference("betas_250"));
  const auto kept = formats::array(arrays_, "timestep_map_250", kPath).as<int64_t>();
  EXPECT_TRUE(std::ranges::equal(schedule.timestep_map, kept));
}

TEST(ScheduleTest, DerivedTablesFollowFromTheSurvivingSignal) {
  const DdpmSchedule schedule = linear_schedule();
  for (size_t t = 0; t < 1000; ++t) {
    const double signal = schedule.alphas_cumprod[t];
    EXPECT_DOUBLE_EQ(schedule.alphas_cumprod_prev[t],
                     t == 0 ? 1.0 : schedule.alphas_cumprod[t - 1]);
    EXPECT_DOUBLE_EQ(schedule.sqrt_alphas_cumprod[t], std::sqrt(signal));
    EXPECT_DOUBLE_EQ(schedule.sqrt_one_minus_alphas_cumprod[t], std::sqrt(1 - signal));
    EXPECT_DOUBLE_EQ(schedule.sqrt_recip_alphas_cumprod[t], std::sqrt(1 / signal));
    EXPECT_DOUBLE_EQ(schedule.sqrt_recipm1_alphas_cumprod[t], std::sqrt(1 / signal - 1));
    EXPECT_EQ(schedule.timestep_map[t], static_cast<int64_t>(t));
    if (t > 0) {
      EXPECT_DOUBLE_EQ(std::log(schedule.posterior_variance[t]),
                       schedule.posterior_log_variance_clipped[t]);
    }
  }
  EXPECT_EQ(schedule.posterior_variance[0], 0.0);
}

TEST(ScheduleTest, KeptStepsRoundHalfToEven) {
  const DdpmSchedule original = linear_schedule();
  EXPECT_THAT(respace(original, 8).timestep_map, ElementsAre(0, 143, 285, 428, 571, 714, 856, 999));
  EXPECT_THAT(respace(original, 3).timestep_map, ElementsAre(0, 500, 999));
  EXPECT_THAT(respace(original, 1).timestep_map, ElementsAre(0));
}

TEST(ScheduleTest, AnyNumberOfStepsKeepsTheEndsAndRepeatsNone) {
  const DdpmSchedule original = linear_schedule();
  for (int64_t steps = 2; steps <= 1000; ++steps) {
    const std::vector<int64_t> kept = respace(original, steps).timestep_map;
    ASSERT_EQ(kept.front(), 0) << steps;
    ASSERT_EQ(kept.back(), 999) << steps;
    ASSERT_EQ(std::ranges::adjacent_find(kept, std::greater_equal<>()), kept.end()) << steps;
  }
}

TEST(ScheduleTest, StridedStepsStartAtTheFirst) {
  const DdpmSchedule original = linear_schedule();
  EXPECT_THAT(respace_strided(original, 8).timestep_map,
              ElementsAre(0, 125, 250, 375, 500, 625, 750, 875));
  EXPECT_THAT(respace_strided(original, 7).timestep_map,
              ElementsAre(0, 143, 286, 429, 572, 715, 858));
  EXPECT_THAT(respace_strided(original, 1).timestep_map, ElementsAre(0));
  // No whole stride gives 60 of 1000.
  const std::vector<int64_t> sixty = respace_strided(original, 60).timestep_map;
  EXPECT_EQ(sixty[1], 16);
  EXPECT_EQ(sixty[59], 983);
  for (int64_t steps = 1; steps <= 1000; ++steps) {
    const std::vector<int64_t> kept = respace_strided(original, steps).timestep_map;
    ASSERT_EQ(kept.size(), static_cast<size_t>(steps));
    ASSERT_LT(kept.back(), 1000) << steps;
    ASSERT_EQ(std::ranges::adjacent_find(kept, std::greater_equal<>()), kept.end()) << steps;
  }
}

TEST(ScheduleTest, SolverStepsAreTheNearestToEvenPlaces) {
  const DdpmSchedule original = linear_schedule();
  const auto lambda = [&](int64_t t) {
    const double signal = original.alphas_cumprod[static_cast<size_t>(t)];
    return std::log(std::sqrt(signal) / std::sqrt(1 - signal));
  };
  const auto place = [&](int64_t t) {
    const double in_time = static_cast<double>(t) / 999;
    return (in_time + (lambda(0) - lambda(t)) / (lambda(0) - lambda(999))) / 2;
  };
  EXPECT_THAT(respace_for_solver(original, 10).timestep_map,
              ElementsAre(0, 18, 90, 215, 359, 504, 641, 768, 887, 999));
  for (const int64_t steps : {2, 3, 7, 20}) {
    const std::vector<int64_t> kept = respace_for_solver(original, steps).timestep_map;
    for (int64_t i = 0; i < steps; ++i) {
      const double target = static_cast<double>(i) / static_cast<double>(steps - 1);
      int64_t nearest = 0;
      for (int64_t t = 1; t < 1000; ++t) {
        if (std::abs(place(t) - target) < std::abs(place(nearest) - target)) nearest = t;
      }
      EXPECT_EQ(kept[static_cast<size_t>(i)], nearest) << i << " of " << steps;
    }
  }
}

TEST(ScheduleTest, AnyNumberOfSolverStepsKeepsTheEndsAndRepeatsNone) {
  const DdpmSchedule original = linear_schedule();
  EXPECT_THAT(respace_for_solver(original, 1).timestep_map, ElementsAre(999));
  for (int64_t steps = 2; steps <= 1000; ++steps) {
    const std::vector<int64_t> kept = respace_for_solver(original, steps).timestep_map;
    ASSERT_EQ(kept.size(), static_cast<size_t>(steps));
    ASSERT_EQ(kept.front(), 0) << steps;
    ASSERT_EQ(kept.back(), 999) << steps;
    ASSERT_EQ(std::ranges::adjacent_find(kept, std::greater_equal<>()), kept.end()) << steps;
  }
}

TEST(ScheduleTest, NoiseLevelGoesFromImageToNoise) {
  EXPECT_EQ(noise_level(0), 0.0);
  EXPECT_EQ(noise_level(999), 1.0);
  EXPECT_DOUBLE_EQ(noise_level(333), 1.0 / 3.0);
}

TEST(ScheduleTest, RespacingKeepsTheSignal) {
  const DdpmSchedule original = linear_schedule();
  const DdpmSchedule kept = respace(original, 37);
  for (size_t i = 0; i < 37; ++i) {
    const double expected = original.alphas_cumprod[static_cast<size_t>(kept.timestep_map[i])];
    EXPECT_NEAR(kept.alphas_cumprod[i], expected, 1e-13);
  }
}

TEST(ScheduleTest, OneStepHasFiniteTables) {
  const DdpmSchedule schedule = respace(linear_schedule(), 1);
  EXPECT_TRUE(std::isfinite(schedule.posterior_log_variance_clipped[0]));
}

TEST(ScheduleTest, StepsOutOfRangeAreRefused) {
  const DdpmSchedule original = linear_schedule();
  EXPECT_THROW(respace(original, 0), base::Error);
  EXPECT_THROW(respace(original, -3), base::Error);
  EXPECT_THROW(respace(original, 1001), base::Error);
  EXPECT_THROW(respace_strided(original, 0), base::Error);
  EXPECT_THROW(respace_strided(original, 1001), base::Error);
  EXPECT_THROW(respace_for_solver(original, 0), base::Error);
  EXPECT_THROW(respace_for_solver(original, 1001), base::Error);
  EXPECT_THROW(linear_schedule(0), base::Error);
}

}  // namespace
}  // namespace ditmoe::diffusion
