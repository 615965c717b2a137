#pragma once

#include <functional>
#include <vector>

#include "ditmoe/diffusion/denoiser.h"

namespace ditmoe::diffusion {

// Predicts by a formula for each element and keeps what it was asked.
class FakeDenoiser final : public Denoiser {
 public:
  struct Call {
    std::vector<float> t;
    std::vector<int32_t> y;
    const float* out = nullptr;  // where the answer was asked for
  };

  // prediction = formula(x, t, y, channel), where channel counts over the outputs; a variance
  // channel gets the x of the channel it belongs to.
  using Formula = std::function<double(double x, double t, int32_t y, int64_t channel)>;

  FakeDenoiser(ImageShape shape, bool with_variance, Formula formula)
      : shape_(shape), with_variance_(with_variance), formula_(std::move(formula)) {}

  ImageShape input_shape() const override { return shape_; }

  int64_t output_channels() const override { return shape_.channels * (with_variance_ ? 2 : 1); }

  int64_t num_classes() const override { return kClasses; }

  void predict(std::span<const float> x_NCHW,
               std::span<const float> t_N,
               std::span<const int32_t> y_N,
               std::span<float> out) override {
    calls.push_back({{t_N.begin(), t_N.end()}, {y_N.begin(), y_N.end()}, out.data()});
    const int64_t plane = shape_.height * shape_.width;
    size_t next = 0;
    for (size_t n = 0; n < y_N.size(); ++n) {
      for (int64_t channel = 0; channel < output_channels(); ++channel) {
        const int64_t source =
            static_cast<int64_t>(n) * shape_.channels + channel % shape_.channels;
        for (int64_t i = 0; i < plane; ++i) {
          const double x = x_NCHW[static_cast<size_t>(source * plane + i)];
          out[next++] = static_cast<float>(formula_(x, t_N[n], y_N[n], channel));
        }
      }
    }
  }

  static constexpr int32_t kClasses = 4;

  std::vector<Call> calls;

 private:
  ImageShape shape_;
  bool with_variance_;
  Formula formula_;
};

}  // namespace ditmoe::diffusion
