#include "ditmoe/diffusion/guided_prediction.h"

#include <algorithm>
#include <cmath>

#include "ditmoe/base/error.h"

namespace ditmoe::diffusion {

GuidedPrediction::GuidedPrediction(Denoiser& denoiser,
                                   const Guidance& guidance,
                                   std::span<const int32_t> y_N)
    : denoiser_(denoiser),
      shape_(denoiser.input_shape()),
      output_channels_(denoiser.output_channels()),
      images_(static_cast<int64_t>(y_N.size())),
      scale_(static_cast<float>(guidance.scale)),
      interval_(guidance.interval),
      y_(y_N.begin(), y_N.end()) {
  DITMOE_ASSERT(output_channels_ == shape_.channels || output_channels_ == 2 * shape_.channels);
  if (!std::isfinite(guidance.scale)) {
    base::bad_input("guidance scale: expected a number, found {}", guidance.scale);
  }
  check_interval(guidance.interval);
  const int64_t guided_channels =
      guidance.all_channels ? shape_.channels : std::min<int64_t>(3, shape_.channels);
  guided_size_ = guidance.scale == 1.0 ? 0 : guided_channels * shape_.height * shape_.width;
  if (guided_size_ > 0) {
    y_.resize(y_N.size() * 2, static_cast<int32_t>(denoiser.num_classes()));
    x_.resize(y_.size() * static_cast<size_t>(shape_.size()));
  }
  t_.resize(y_.size());
  out_.resize(y_.size() * static_cast<size_t>(output_channels_ * shape_.height * shape_.width));
}

void GuidedPrediction::predict(std::span<const float> x_NCHW, float t, double noise_level) {
  DITMOE_ASSERT(x_NCHW.size() == static_cast<size_t>(images_ * shape_.size()));
  std::ranges::fill(t_, t);
  if (guided_size_ > 0 && interval_.contains(noise_level)) {
    predict_guided(x_NCHW);
    return;
  }
  const auto images = static_cast<size_t>(images_);
  denoiser_.predict(x_NCHW,
                    std::span(t_).first(images),
                    std::span(y_).first(images),
                    std::span(out_).first(images * row_size()));
}

void GuidedPrediction::predict_guided(std::span<const float> x_NCHW) {
  const auto null_half = std::ranges::copy(x_NCHW, x_.begin()).out;
  std::ranges::copy(x_NCHW, null_half);
  denoiser_.predict(x_, t_, y_, out_);
  const auto images = static_cast<size_t>(images_);
  for (size_t image = 0; image < images; ++image) {
    float* conditional = out_.data() + image * row_size();
    const float* null = conditional + images * row_size();
    for (int64_t i = 0; i < guided_size_; ++i) {
      conditional[i] = null[i] + scale_ * (conditional[i] - null[i]);
    }
  }
}

size_t GuidedPrediction::row_size() const {
  return static_cast<size_t>(output_channels_ * shape_.height * shape_.width);
}

std::span<const float> GuidedPrediction::row(int64_t image) const {
  DITMOE_ASSERT(image >= 0 && image < images_);
  return std::span(out_).subspan(static_cast<size_t>(image) * row_size(), row_size());
}

std::span<const float> GuidedPrediction::mean(int64_t image) const {
  return row(image).first(static_cast<size_t>(shape_.size()));
}

std::span<const float> GuidedPrediction::variance(int64_t image) const {
  DITMOE_ASSERT(has_variance());
  return row(image).last(static_cast<size_t>(shape_.size()));
}

}  // namespace ditmoe::diffusion
