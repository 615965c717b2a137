#pragma once

#include <cmath>

#include "ditmoe/diffusion/denoiser.h"

namespace ditmoe::pipeline {

// Predicts a number that depends on pixel, time and label; also its variance. Remembers its calls.
class FakeDenoiser final : public diffusion::Denoiser {
 public:
  diffusion::ImageShape input_shape() const override { return {1, 4, 4}; }

  int64_t output_channels() const override { return 2; }

  int64_t num_classes() const override { return 3; }

  void predict(std::span<const float> x_NCHW,
               std::span<const float> t_N,
               std::span<const int32_t> y_N,
               std::span<float> out) override {
    const size_t size = static_cast<size_t>(input_shape().size());
    largest_batch = std::max<int64_t>(largest_batch, static_cast<int64_t>(t_N.size()));
    for (size_t n = 0; n < t_N.size(); ++n) {
      for (size_t i = 0; i < size; ++i) {
        const float x = x_NCHW[n * size + i];
        out[n * 2 * size + i] =
            0.5F * x + 0.1F * std::sin(t_N[n]) + 0.2F * static_cast<float>(y_N[n]);
        out[(n * 2 + 1) * size + i] = std::tanh(x);
      }
    }
  }

  int64_t largest_batch = 0;
};

}  // namespace ditmoe::pipeline
