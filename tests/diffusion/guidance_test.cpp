#include <cmath>
#include <gmock/gmock.h>
#include <limits>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/diffusion/guided_prediction.h"

#include "fake_denoisers.h"

namespace ditmoe::diffusion {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr ImageShape kFourChannels{4, 1, 2};
constexpr int32_t kNull = FakeDenoiser::kClasses;

// Says the label and the output channel: 10·label + channel.
FakeDenoiser label_teller(ImageShape shape, bool with_variance) {
  return {shape, with_variance, [](double, double, int32_t y, int64_t channel) {
            return 10.0 * y + static_cast<double>(channel);
          }};
}

TEST(GuidanceTest, MovesTheFirstThreeChannelsAwayFromTheNullLabel) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1, 2};
  GuidedPrediction prediction(denoiser, {.scale = 3.0}, y);
  prediction.predict(std::vector<float>(16), 5.0f, 0.5);
  // 40 + 3·(10 - 40) = -50 for label 1; channel 3 and the variance stay conditional.
  EXPECT_THAT(prediction.mean(0), ElementsAre(-50, -50, -49, -49, -48, -48, 13, 13));
  EXPECT_THAT(prediction.variance(0), ElementsAre(14, 14, 15, 15, 16, 16, 17, 17));
  EXPECT_THAT(prediction.mean(1), ElementsAre(-20, -20, -19, -19, -18, -18, 23, 23));
}

TEST(GuidanceTest, AllChannelsWhereAsked) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1};
  GuidedPrediction prediction(denoiser, {.scale = 3.0, .all_channels = true}, y);
  prediction.predict(std::vector<float>(8), 5.0f, 0.5);
  EXPECT_THAT(prediction.mean(0), ElementsAre(-50, -50, -49, -49, -48, -48, -47, -47));
  EXPECT_THAT(prediction.variance(0), ElementsAre(14, 14, 15, 15, 16, 16, 17, 17));
}

TEST(GuidanceTest, OneChannelIsGuidedEitherWay) {
  FakeDenoiser denoiser = label_teller({1, 1, 1}, false);
  const std::vector<int32_t> y = {1};
  GuidedPrediction prediction(denoiser, {.scale = 2.0}, y);
  prediction.predict(std::vector<float>(1), 0.0f, 0.5);
  EXPECT_THAT(prediction.mean(0), ElementsAre(-20));
  EXPECT_FALSE(prediction.has_variance());
}

TEST(GuidanceTest, BothHalvesShareOneBatchAtOneTime) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1, 3};
  GuidedPrediction prediction(denoiser, {.scale = 2.0}, y);
  prediction.predict(std::vector<float>(16), 0.25f, 0.5);
  ASSERT_EQ(denoiser.calls.size(), 1u);
  EXPECT_THAT(denoiser.calls[0].y, ElementsAre(1, 3, kNull, kNull));
  EXPECT_THAT(denoiser.calls[0].t, Each(0.25f));
}

TEST(GuidanceTest, NullHalfSeesTheSameImages) {
  FakeDenoiser denoiser({1, 1, 1}, false, [](double x, double, int32_t y, int64_t) {
    return y == kNull ? 100 * x : x;
  });
  const std::vector<int32_t> y = {0, 1};
  GuidedPrediction prediction(denoiser, {.scale = 0.0}, y);
  prediction.predict(std::vector<float>{1, 2}, 0.0f, 0.5);
  EXPECT_THAT(prediction.mean(0), ElementsAre(100));
  EXPECT_THAT(prediction.mean(1), ElementsAre(200));
}

TEST(GuidanceTest, ScaleOneRunsWithoutTheNullHalf) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1, 2};
  GuidedPrediction prediction(denoiser, {.scale = 1.0}, y);
  prediction.predict(std::vector<float>(16), 5.0f, 0.5);
  ASSERT_EQ(denoiser.calls.size(), 1u);
  EXPECT_THAT(denoiser.calls[0].y, ElementsAre(1, 2));
  EXPECT_THAT(prediction.mean(1), ElementsAre(20, 20, 21, 21, 22, 22, 23, 23));
}

TEST(GuidanceTest, OutsideTheIntervalThePredictionIsTheConditionalOne) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1, 2};
  GuidedPrediction prediction(denoiser, {.scale = 3.0, .interval = {0.25, 0.75}}, y);
  const std::vector<float> x(16);
  for (const double level : {0.0, 0.2499, 0.7501, 1.0}) {
    denoiser.calls.clear();
    prediction.predict(x, 5.0f, level);
    ASSERT_EQ(denoiser.calls.size(), 1u);
    EXPECT_THAT(denoiser.calls[0].y, ElementsAre(1, 2)) << level;
    EXPECT_THAT(denoiser.calls[0].t, ElementsAre(5.0f, 5.0f));
    EXPECT_THAT(prediction.mean(0), ElementsAre(10, 10, 11, 11, 12, 12, 13, 13)) << level;
    EXPECT_THAT(prediction.mean(1), ElementsAre(20, 20, 21, 21, 22, 22, 23, 23)) << level;
    EXPECT_THAT(prediction.variance(1), ElementsAre(24, 24, 25, 25, 26, 26, 27, 27)) << level;
  }
  // Both ends are inside; one object goes in and out.
  for (const double level : {0.25, 0.75}) {
    denoiser.calls.clear();
    prediction.predict(x, 5.0f, level);
    EXPECT_THAT(denoiser.calls.at(0).y, ElementsAre(1, 2, kNull, kNull)) << level;
    EXPECT_THAT(prediction.mean(0), ElementsAre(-50, -50, -49, -49, -48, -48, 13, 13)) << level;
  }
}

TEST(GuidanceTest, OneBufferServesInsideAndOutside) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1, 2};
  GuidedPrediction prediction(denoiser, {.scale = 3.0, .interval = {0.25, 0.75}}, y);
  for (const double level : {1.0, 0.5, 0.0, 0.5}) {
    prediction.predict(std::vector<float>(16), 5.0f, level);
    EXPECT_EQ(denoiser.calls.back().out, denoiser.calls.front().out) << level;
  }
}

TEST(GuidanceTest, IntervalsThatAreNoneAreRefused) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1};
  const auto make = [&](double low, double high) {
    GuidedPrediction(denoiser, {.scale = 2.0, .interval = {low, high}}, y);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(make(0.6, 0.4), base::Error);
  EXPECT_THROW(make(-0.1, 0.4), base::Error);
  EXPECT_THROW(make(0.4, 1.1), base::Error);
  EXPECT_THROW(make(nan, 0.4), base::Error);
  EXPECT_THROW(make(0.4, nan), base::Error);
  EXPECT_NO_THROW(make(0.4, 0.4));
  EXPECT_NO_THROW(make(0.0, 1.0));
}

TEST(GuidanceTest, ScaleThatIsNoNumberIsRefused) {
  FakeDenoiser denoiser = label_teller(kFourChannels, true);
  const std::vector<int32_t> y = {1};
  const Guidance guidance{.scale = std::numeric_limits<double>::quiet_NaN()};
  EXPECT_THROW(GuidedPrediction(denoiser, guidance, y), base::Error);
}

}  // namespace
}  // namespace ditmoe::diffusion
