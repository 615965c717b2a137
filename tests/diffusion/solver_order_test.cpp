// Solvers of higher order against their formulas and against exact solutions.

#include <cmath>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/diffusion/schedule.h"

#include "gaussian_denoisers.h"

namespace ditmoe::diffusion {
namespace {

using ::testing::ElementsAre;

constexpr ImageShape kPixel{1, 1, 1};
constexpr int32_t kLabel = 2;

// Where a sampler takes one pixel from z; it must draw no noise.
double end_of(const std::string& name, int64_t steps, FakeDenoiser& denoiser, double z) {
  const NoiseSource none = [](int64_t, int64_t, std::span<float>) { FAIL() << "asked for noise"; };
  std::vector<float> x = {static_cast<float>(z)};
  const std::vector<int32_t> y = {kLabel};
  make_sampler(name, steps)->run(denoiser, {}, y, none, x);
  return x[0];
}

std::vector<float> told_times(const FakeDenoiser& denoiser) {
  std::vector<float> told;
  for (const auto& call : denoiser.calls) told.push_back(call.t.at(0));
  return told;
}

// log2 of how much smaller the error is with twice the steps.
double order(double error, double error_of_twice_the_steps) {
  return std::log2(std::abs(error) / std::abs(error_of_twice_the_steps));
}

class FlowOrderTest : public ::testing::TestWithParam<std::pair<const char*, double>> {};

// The flow carries z to class_mean + kDeviation·z.
TEST_P(FlowOrderTest, ErrorFallsWithThePowerOfTheStep) {
  const auto [name, expected] = GetParam();
  FakeDenoiser denoiser = gaussian_flow(kPixel);
  const double z = 1.3;
  const double exact = class_mean(kLabel) + kDeviation * z;
  const double error_64 = end_of(name, 64, denoiser, z) - exact;
  const double error_128 = end_of(name, 128, denoiser, z) - exact;
  const double error_256 = end_of(name, 256, denoiser, z) - exact;
  EXPECT_NEAR(order(error_64, error_128), expected, 0.25) << error_64 << " to " << error_128;
  EXPECT_NEAR(order(error_128, error_256), expected, 0.25) << error_128 << " to " << error_256;
}

INSTANTIATE_TEST_SUITE_P(Samplers,
                         FlowOrderTest,
                         ::testing::Values(std::pair("euler", 1.0),
                                           std::pair("heun", 2.0),
                                           std::pair("ab2", 2.0)),
                         [](const auto& test) { return test.param.first; });

// v = cos(2t) + x/2 at t = 1, 2/3, 1/3, followed by hand.
double velocity(double x, double t) { return std::cos(2 * t) + 0.5 * x; }

FakeDenoiser curved_flow() {
  return {kPixel, false, [](double x, double t, int32_t, int64_t) { return velocity(x, t); }};
}

TEST(HeunSamplerTest, AveragesTwoVelocitiesAndEndsWithEuler) {
  FakeDenoiser denoiser = curved_flow();
  const double dt = 1.0 / 3.0;
  double x = 0.7;
  for (const double t : {1.0, 2.0 / 3.0}) {
    const double v = velocity(x, t);
    x -= dt * (v + velocity(x - dt * v, t - dt)) / 2;
  }
  x -= dt * velocity(x, dt);
  EXPECT_NEAR(end_of("heun", 3, denoiser, 0.7), x, 1e-6);
  const auto third = static_cast<float>(1.0 / 3.0);
  const auto two_thirds = static_cast<float>(2.0 / 3.0);
  EXPECT_THAT(told_times(denoiser), ElementsAre(1.0f, two_thirds, two_thirds, third, third));
}

TEST(Ab2SamplerTest, ExtrapolatesFromTheVelocityBefore) {
  FakeDenoiser denoiser = curved_flow();
  const double dt = 1.0 / 3.0;
  double x = 0.7;
  double before = velocity(x, 1.0);
  x -= dt * before;
  for (const double t : {2.0 / 3.0, 1.0 / 3.0}) {
    const double v = velocity(x, t);
    x -= dt * (1.5 * v - 0.5 * before);
    before = v;
  }
  EXPECT_NEAR(end_of("ab2", 3, denoiser, 0.7), x, 1e-6);
  EXPECT_THAT(told_times(denoiser),
              ElementsAre(1.0f, static_cast<float>(2.0 / 3.0), static_cast<float>(1.0 / 3.0)));
}

TEST(FlowSamplersTest, OneStepIsEulers) {
  FakeDenoiser denoiser = curved_flow();
  const double euler = end_of("euler", 1, denoiser, 0.7);
  EXPECT_EQ(end_of("heun", 1, denoiser, 0.7), euler);
  EXPECT_EQ(end_of("ab2", 1, denoiser, 0.7), euler);
}

// Step t of the linear schedule, as the paper names its quantities.
struct Level {
  double alpha, sigma, lambda;
};

Level level(int64_t t) {
  const double signal = linear_schedule().alphas_cumprod[static_cast<size_t>(t)];
  return {std::sqrt(signal),
          std::sqrt(1 - signal),
          std::log(std::sqrt(signal) / std::sqrt(1 - signal))};
}

// The error of dpm++ against the exact solution at the last time it asks about, t = 0, cleaned of
// its last noise as the sampler does. The probability flow keeps (x - α·mean) / deviation(x_t).
double dpm_error(int64_t steps, double deviation, double z) {
  FakeDenoiser denoiser = gaussian_ddpm(kPixel, deviation);
  const auto spread = [deviation](const Level& at) {
    return std::sqrt(at.alpha * at.alpha * deviation * deviation + at.sigma * at.sigma);
  };
  const double mean = class_mean(kLabel);
  const Level start = level(999);
  const Level last = level(0);
  const double centred = (z - start.alpha * mean) / spread(start) * spread(last);
  const double posterior =
      mean + last.alpha * deviation * deviation / (spread(last) * spread(last)) * centred;
  return end_of("dpm++", steps, denoiser, z) - posterior;
}

TEST(DpmSolverTest, ErrorFallsWithTheSquareOfTheStep) {
  for (const double deviation : {0.25, 0.5, 1.5}) {
    const double error_40 = dpm_error(40, deviation, 1.3);
    const double error_80 = dpm_error(80, deviation, 1.3);
    const double error_160 = dpm_error(160, deviation, 1.3);
    EXPECT_NEAR(order(error_40, error_80), 2.0, 0.25) << error_40 << " to " << error_80;
    EXPECT_NEAR(order(error_80, error_160), 2.0, 0.25) << error_80 << " to " << error_160;
  }
}

// A network of no distribution in particular.
double noise_of(double x, double t) { return 0.8 * x + 0.1 * std::sin(3 * x) + 1e-4 * t; }

FakeDenoiser some_network(bool with_variance) {
  return {kPixel, with_variance, [](double x, double t, int32_t, int64_t channel) {
            return channel == 1 ? 1e6 : noise_of(x, t);
          }};
}

// The formula of the paper's algorithm 2, the image at the end being the last prediction of it.
double dpm_by_definition(const std::vector<int64_t>& times, double x) {
  double data_before = 0;
  for (size_t i = 0;; ++i) {
    const Level from = level(times[i]);
    const auto t = static_cast<double>(times[i]);
    const double data = (x - from.sigma * noise_of(x, t)) / from.alpha;
    if (i + 1 == times.size()) return data;
    const Level to = level(times[i + 1]);
    const double h = to.lambda - from.lambda;
    double direction = data;
    if (i > 0) {
      const double r = (from.lambda - level(times[i - 1]).lambda) / h;
      direction = (1 + 1 / (2 * r)) * data - 1 / (2 * r) * data_before;
    }
    x = to.sigma / from.sigma * x - to.alpha * (std::exp(-h) - 1) * direction;
    data_before = data;
  }
}

TEST(DpmSolverTest, FollowsTheFormulaAtWholeSteps) {
  FakeDenoiser denoiser = some_network(false);
  const std::vector<int64_t> times = {999, 887, 768, 641, 504, 359, 215, 90, 18, 0};
  const double expected = dpm_by_definition(times, 0.7);
  EXPECT_NEAR(end_of("dpm++", 10, denoiser, 0.7), expected, 1e-5 * std::abs(expected));
  EXPECT_THAT(told_times(denoiser), ::testing::ElementsAreArray(times));
}

TEST(DpmSolverTest, FirstStepIsDdims) {
  FakeDenoiser denoiser = some_network(false);
  const Level start = level(999);
  const Level last = level(0);
  const double eps = noise_of(0.7, 999);
  const double x = last.alpha * (0.7 - start.sigma * eps) / start.alpha + last.sigma * eps;
  const double expected = (x - last.sigma * noise_of(x, 0)) / last.alpha;
  EXPECT_NEAR(end_of("dpm++", 2, denoiser, 0.7), expected, 1e-5 * std::abs(expected));
}

TEST(DpmSolverTest, OneStepIsTheImageImpliedAtTheStart) {
  FakeDenoiser denoiser = some_network(false);
  const Level start = level(999);
  const double expected = (0.7 - start.sigma * noise_of(0.7, 999)) / start.alpha;
  EXPECT_NEAR(end_of("dpm++", 1, denoiser, 0.7), expected, 1e-5 * std::abs(expected));
  EXPECT_THAT(told_times(denoiser), ElementsAre(999.0f));
}

TEST(DpmSolverTest, PredictedVarianceIsIgnored) {
  FakeDenoiser without = some_network(false);
  FakeDenoiser with = some_network(true);
  EXPECT_EQ(end_of("dpm++", 7, with, 0.7), end_of("dpm++", 7, without, 0.7));
}

}  // namespace
}  // namespace ditmoe::diffusion
