#include "ditmoe/diffusion/sampler.h"

#include <cmath>
#include <gmock/gmock.h>
#include <numeric>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/diffusion/schedule.h"

#include "gaussian_denoisers.h"

namespace ditmoe::diffusion {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AnySamplerTest : public ::testing::TestWithParam<std::string> {};

TEST_P(AnySamplerTest, ImageDoesNotDependOnItsBatch) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 6);
  const Guidance guidance{.scale = 1.5};
  const std::vector<float> together = sample(denoiser, *sampler, {3, 0, 2}, 10, guidance);
  std::vector<float> alone;
  for (int32_t n = 0; n < 3; ++n) {
    const std::vector<int32_t> labels = {3, 0, 2};
    const auto image =
        sample(denoiser, *sampler, {labels[static_cast<size_t>(n)]}, 10 + n, guidance);
    alone.insert(alone.end(), image.begin(), image.end());
  }
  EXPECT_THAT(alone, ElementsAreArray(together));
}

TEST_P(AnySamplerTest, GuidanceTowardsTheNullLabelItselfChangesNothing) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 6);
  const std::vector<int32_t> none = {FakeDenoiser::kClasses};
  EXPECT_EQ(sample(denoiser, *sampler, none, 0, {.scale = 4.0}),
            sample(denoiser, *sampler, none, 0));
}

TEST_P(AnySamplerTest, GuidanceMovesImagesAwayFromTheNullLabel) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 50);
  const auto plain = sample(denoiser, *sampler, {0});
  const auto guided = sample(denoiser, *sampler, {0}, 0, {.scale = 2.0});
  // Three of four channels are guided; the null label's mean lies above label 0's.
  const size_t guided_size = 27;
  for (size_t i = 0; i < plain.size(); ++i) {
    if (i < guided_size) {
      EXPECT_LT(guided[i], plain[i] - 0.5f) << i;
    } else {
      EXPECT_EQ(guided[i], plain[i]) << i;
    }
  }
}

TEST_P(AnySamplerTest, SeedAndIndexChangeTheImage) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 4);
  const auto image = sample(denoiser, *sampler, {1}, 0);
  EXPECT_NE(image, sample(denoiser, *sampler, {1}, 1));
  EXPECT_NE(image, sample(denoiser, *sampler, {1}, 0, {}, 8));
  EXPECT_EQ(image, sample(denoiser, *sampler, {1}, 0));
}

TEST_P(AnySamplerTest, ReportsEveryStepOnce) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  std::vector<int64_t> done;
  std::vector<float> x(static_cast<size_t>(kShape.size()));
  const std::vector<int32_t> y = {0};
  make_sampler(GetParam(), 5)
      ->run(denoiser, {}, y, philox_noise(1, 0), x, [&](int64_t step, int64_t total) {
        done.push_back(step);
        EXPECT_EQ(total, 5);
      });
  EXPECT_THAT(done, ElementsAre(1, 2, 3, 4, 5));
}

TEST_P(AnySamplerTest, DrawsTheDistributionOfItsData) {
  constexpr ImageShape kMany{4, 32, 32};
  FakeDenoiser denoiser = gaussian_for(GetParam(), kMany);
  const auto x = sample(denoiser, *make_sampler(GetParam(), 1000), {3});
  const auto count = static_cast<double>(x.size());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / count;
  double squares = 0.0;
  for (const float value : x) squares += (value - mean) * (value - mean);
  // 4096 draws: the mean's standard error is 0.004, the deviation's 0.003.
  EXPECT_NEAR(mean, class_mean(3), 0.015);
  EXPECT_NEAR(std::sqrt(squares / count), kDeviation, 0.01);
}

TEST_P(AnySamplerTest, IntervalOfAllLevelsIsPlainGuidance) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 6);
  const Guidance whole{.scale = 3.0, .interval = {0.0, 1.0}};
  EXPECT_EQ(sample(denoiser, *sampler, {1, 2}, 0, whole),
            sample(denoiser, *sampler, {1, 2}, 0, {.scale = 3.0}));
}

TEST_P(AnySamplerTest, IntervalBetweenTimesIsNoGuidance) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 5);
  const Guidance between{.scale = 3.0, .interval = {0.99, 0.995}};
  EXPECT_EQ(sample(denoiser, *sampler, {1, 2}, 0, between), sample(denoiser, *sampler, {1, 2}, 0));
}

// The null half is asked for at the levels of the interval, both ends included, and nowhere else.
TEST_P(AnySamplerTest, NullHalfRunsWithinTheIntervalAlone) {
  FakeDenoiser denoiser = gaussian_for(GetParam());
  const auto sampler = make_sampler(GetParam(), 10);
  sample(denoiser, *sampler, {1, 2});
  const double last_step = is_rectified_flow(GetParam()) ? 1.0 : 999.0;
  std::vector<double> levels;
  for (const auto& call : denoiser.calls) levels.push_back(call.t.at(0) / last_step);
  // Barely around levels that are told, whatever a float makes of them.
  const Guidance::Interval interval{levels[6] - 1e-6, levels[2] + 1e-6};
  denoiser.calls.clear();
  sample(denoiser, *sampler, {1, 2}, 0, {.scale = 2.0, .interval = interval});
  ASSERT_EQ(denoiser.calls.size(), levels.size());
  int64_t guided = 0;
  for (size_t i = 0; i < levels.size(); ++i) {
    const bool inside = levels[i] >= interval.low && levels[i] <= interval.high;
    EXPECT_EQ(denoiser.calls[i].y.size(), inside ? 4U : 2U) << "level " << levels[i];
    guided += inside ? 1 : 0;
  }
  EXPECT_GE(guided, 5);
  EXPECT_LT(guided, static_cast<int64_t>(levels.size()));
}

INSTANTIATE_TEST_SUITE_P(Samplers,
                         AnySamplerTest,
                         ::testing::ValuesIn(sampler_names()),
                         [](const auto& test) { return test_name(test.param); });

TEST(DdpmSamplerTest, TellsTheNetworkOriginalSteps) {
  FakeDenoiser denoiser = gaussian_ddpm();
  sample(denoiser, *make_sampler("ddpm", 8), {1});
  std::vector<float> told;
  for (const auto& call : denoiser.calls) told.push_back(call.t.at(0));
  EXPECT_THAT(told, ElementsAre(999, 856, 714, 571, 428, 285, 143, 0));
}

TEST(DdpmSamplerTest, AsksForNoiseInEveryStepButTheLast) {
  FakeDenoiser denoiser = gaussian_ddpm();
  std::vector<std::pair<int64_t, int64_t>> asked;
  const NoiseSource noise = [&](int64_t image, int64_t step, std::span<float> out) {
    EXPECT_EQ(out.size(), static_cast<size_t>(kShape.size()));
    asked.emplace_back(step, image);
  };
  std::vector<float> x(static_cast<size_t>(2 * kShape.size()));
  const std::vector<int32_t> y = {0, 1};
  make_sampler("ddpm", 3)->run(denoiser, {}, y, noise, x);
  EXPECT_THAT(asked,
              ElementsAre(std::pair(0, 0), std::pair(0, 1), std::pair(1, 0), std::pair(1, 1)));
}

// Deviation of the noise that the first of two steps adds, seen through a network that predicts no
// noise, so that the last step only scales: by 1/sqrt(ᾱ_0).
double deviation_of_first_step(bool with_variance, double v) {
  const ImageShape pixel{1, 1, 1};
  FakeDenoiser denoiser(pixel, with_variance, [v](double, double, int32_t, int64_t channel) {
    return channel == 1 ? v : 0.0;
  });
  const NoiseSource ones = [](int64_t, int64_t, std::span<float> out) { out[0] = 1.0f; };
  std::vector<float> x = {0.0f};
  const std::vector<int32_t> y = {0};
  make_sampler("ddpm", 2)->run(denoiser, {}, y, ones, x);
  return x[0] / respace(linear_schedule(), 2).sqrt_recip_alphas_cumprod[0];
}

TEST(DdpmSamplerTest, LearnedVarianceLiesBetweenPosteriorAndBeta) {
  const DdpmSchedule schedule = respace(linear_schedule(), 2);
  const double low = schedule.posterior_variance[1];
  const double high = schedule.betas[1];
  EXPECT_NEAR(deviation_of_first_step(true, -1), std::sqrt(low), 1e-6);
  EXPECT_NEAR(deviation_of_first_step(true, 1), std::sqrt(high), 1e-6);
  EXPECT_NEAR(deviation_of_first_step(true, 0), std::pow(low * high, 0.25), 1e-6);
}

TEST(DdpmSamplerTest, FixedVarianceIsThePosteriors) {
  const double variance = respace(linear_schedule(), 2).posterior_variance[1];
  EXPECT_NEAR(deviation_of_first_step(false, 0), std::sqrt(variance), 1e-6);
}

TEST(DdimSamplerTest, FollowsTheExactTransportAndDrawsNothing) {
  FakeDenoiser denoiser = gaussian_ddpm();
  const NoiseSource none = [](int64_t, int64_t, std::span<float>) { FAIL() << "asked for noise"; };
  std::vector<float> x(static_cast<size_t>(kShape.size()));
  std::iota(x.begin(), x.end(), 0.0f);
  for (float& value : x) value = value / 16 - 1;
  const std::vector<float> z = x;
  const std::vector<int32_t> y = {2};
  make_sampler("ddim", 1000)->run(denoiser, {}, y, none, x);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(x[i], class_mean(2) + kDeviation * z[i], 5e-3);
  }
}

TEST(DdimSamplerTest, TellsTheNetworkStridedSteps) {
  FakeDenoiser denoiser = gaussian_ddpm();
  sample(denoiser, *make_sampler("ddim", 4), {1});
  std::vector<float> told;
  for (const auto& call : denoiser.calls) told.push_back(call.t.at(0));
  EXPECT_THAT(told, ElementsAre(750, 500, 250, 0));
}

TEST(EulerSamplerTest, TellsFractionsOfTimeFromOneDown) {
  FakeDenoiser denoiser = gaussian_flow();
  sample(denoiser, *make_sampler("euler", 4), {1});
  std::vector<float> told;
  for (const auto& call : denoiser.calls) told.push_back(call.t.at(0));
  EXPECT_THAT(told, ElementsAre(1.0f, 0.75f, 0.5f, 0.25f));
}

TEST(EulerSamplerTest, OneStepOfAStraightFlowIsExact) {
  // Every image is 0.5, so the velocity at the start is noise - 0.5.
  FakeDenoiser denoiser(
      kShape, true, [](double x, double t, int32_t, int64_t) { return (x - 0.5) / t; });
  EXPECT_THAT(sample(denoiser, *make_sampler("euler", 1), {1}),
              Each(::testing::FloatNear(0.5f, 1e-6f)));
}

TEST(SamplerTest, UnknownNamesAndStepsAreRefused) {
  const auto error = [](const std::string& name, int64_t steps) -> std::string {
    try {
      make_sampler(name, steps);
    } catch (const base::Error& caught) {
      EXPECT_EQ(caught.kind(), base::ErrorKind::kBadInput);
      return caught.what();
    }
    return {};
  };
  EXPECT_THAT(error("plms", 10),
              HasSubstr("expected one of ddpm, ddim, dpm++, euler, heun, ab2, found 'plms'"));
  EXPECT_THAT(error("ddpm", 1001), HasSubstr("expected 1 to 1000, found 1001"));
  EXPECT_THAT(error("ddim", 0), HasSubstr("found 0"));
  EXPECT_THAT(error("dpm++", 0), HasSubstr("found 0"));
  EXPECT_THAT(error("dpm++", 1001), HasSubstr("expected 1 to 1000, found 1001"));
  for (const std::string flow : {"euler", "heun", "ab2"}) {
    EXPECT_THAT(error(flow, 0), HasSubstr("found 0"));
    EXPECT_THAT(error(flow, -1), HasSubstr("found -1"));
    EXPECT_THAT(error(flow, (1 << 20) + 1), HasSubstr("found 1048577"));
    EXPECT_THAT(error(flow, 1 << 20), IsEmpty());
  }
  EXPECT_THAT(error("ddpm", 1000), IsEmpty());
}

TEST(SamplerTest, KnownSamplersCanBeMade) {
  for (const SamplerInfo& info : known_samplers()) {
    EXPECT_NE(make_sampler(info.name, info.default_steps), nullptr) << info.name;
    const bool ddpm = info.name.starts_with("d");
    EXPECT_EQ(info.rectified_flow, !ddpm) << info.name;
  }
}

TEST(PhiloxNoiseTest, ImageCountsFromTheFirstOfTheRun) {
  const auto draw = [](int64_t first, int64_t image, int64_t step) {
    std::vector<float> out(8);
    philox_noise(3, first)(image, step, out);
    return out;
  };
  EXPECT_EQ(draw(5, 2, 4), draw(0, 7, 4));
  EXPECT_NE(draw(0, 7, 4), draw(0, 7, 5));
  EXPECT_NE(draw(0, 7, -1), draw(0, 7, 0));
}

}  // namespace
}  // namespace ditmoe::diffusion
