#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ditmoe/diffusion/denoiser.h"
#include "ditmoe/diffusion/sampler.h"

namespace ditmoe::diffusion {

// Asks a Denoiser with classifier-free guidance, one batch at one time after another:
//   out = null + scale·(conditional - null) on the guided channels, conditional on the others.
// Both halves go into one batch [conditional; null]; scale 1, and any scale at a noise level
// outside the interval, asks for the conditional half alone.
class GuidedPrediction {
 public:
  // denoiser and y_N must outlive this object. Throws bad_input for a scale that is not finite or
  // an interval that check_interval refuses. Allocates all that predict needs.
  GuidedPrediction(Denoiser& denoiser, const Guidance& guidance, std::span<const int32_t> y_N);

  // Predicts for all images at one time. x_NCHW and t as Denoiser::predict takes them; noise_level
  // in [0, 1] as Guidance::Interval measures it.
  void predict(std::span<const float> x_NCHW, float t, double noise_level);

  int64_t images() const { return images_; }

  // Elements of one image [C, H, W].
  int64_t image_size() const { return shape_.size(); }

  bool has_variance() const { return output_channels_ > shape_.channels; }

  // The last prediction for one image, [C, H, W].
  std::span<const float> mean(int64_t image) const;

  // What the network predicted about its variance, [C, H, W]; only where has_variance().
  std::span<const float> variance(int64_t image) const;

 private:
  // Asks for both halves and combines them.
  void predict_guided(std::span<const float> x_NCHW);
  size_t row_size() const;  // elements of one prediction
  std::span<const float> row(int64_t image) const;

  Denoiser& denoiser_;
  ImageShape shape_;
  int64_t output_channels_;
  int64_t images_;
  float scale_;
  Guidance::Interval interval_;
  int64_t guided_size_;  // elements of an image that are guided, from its first
  std::vector<float> x_;
  std::vector<float> t_;
  std::vector<int32_t> y_;
  std::vector<float> out_;
};

}  // namespace ditmoe::diffusion
