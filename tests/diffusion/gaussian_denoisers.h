#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/diffusion/schedule.h"

#include "fake_denoisers.h"

// Denoisers whose answers are known: the images are Gaussian.
namespace ditmoe::diffusion {

inline constexpr ImageShape kShape{4, 3, 3};
inline constexpr double kDeviation = 0.25;

inline double class_mean(int32_t y) { return 0.5 * y - 0.75; }

// The best prediction there is of the noise in images whose pixels are independent draws of
// N(class_mean(y), deviation²); the variance output is its lower bound.
inline FakeDenoiser gaussian_ddpm(ImageShape shape = kShape, double deviation = kDeviation) {
  return {shape,
          true,
          [schedule = linear_schedule(), shape, deviation](
              double x, double t, int32_t y, int64_t channel) {
            if (channel >= shape.channels) return -1.0;
            const double signal = schedule.alphas_cumprod[static_cast<size_t>(t)];
            const double total = signal * deviation * deviation + 1 - signal;
            return std::sqrt(1 - signal) * (x - std::sqrt(signal) * class_mean(y)) / total;
          }};
}

// The velocity of the rectified flow between the same images and noise.
inline FakeDenoiser gaussian_flow(ImageShape shape = kShape) {
  return {shape, false, [](double x, double t, int32_t y, int64_t) {
            const double variance = kDeviation * kDeviation;
            const double total = (1 - t) * (1 - t) * variance + t * t;
            const double centred = x - (1 - t) * class_mean(y);
            return t * centred / total - class_mean(y) - (1 - t) * variance * centred / total;
          }};
}

inline bool is_rectified_flow(const std::string& sampler) {
  const auto& known = known_samplers();
  return std::ranges::find(known, sampler, &SamplerInfo::name)->rectified_flow;
}

inline FakeDenoiser gaussian_for(const std::string& sampler, ImageShape shape = kShape) {
  return is_rectified_flow(sampler) ? gaussian_flow(shape) : gaussian_ddpm(shape);
}

inline std::vector<std::string> sampler_names() {
  std::vector<std::string> names;
  for (const SamplerInfo& info : known_samplers()) names.push_back(info.name);
  return names;
}

// A sampler's name with the characters that a test's may have.
inline std::string test_name(std::string sampler) {
  std::ranges::replace(sampler, '+', 'p');
  return sampler;
}

// Samples images first..first + y.size() of the run that `seed` names.
inline std::vector<float> sample(Denoiser& denoiser,
                                 const Sampler& sampler,
                                 const std::vector<int32_t>& y,
                                 int64_t first = 0,
                                 const Guidance& guidance = {},
                                 uint64_t seed = 7) {
  const auto size = static_cast<size_t>(denoiser.input_shape().size());
  const NoiseSource noise = philox_noise(seed, first);
  std::vector<float> x(y.size() * size);
  for (size_t n = 0; n < y.size(); ++n) {
    noise(static_cast<int64_t>(n), -1, std::span(x).subspan(n * size, size));
  }
  sampler.run(denoiser, guidance, y, noise, x);
  return x;
}

}  // namespace ditmoe::diffusion
