#pragma once

#include <cstdint>
#include <span>

namespace ditmoe::diffusion {

// Shape of one image as the network sees it (pixels or latents) and of what it predicts for it.
struct ImageShape {
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;

  int64_t size() const { return channels * height * width; }
};

// A network that predicts from noisy images: the one interface between samplers and networks.
class Denoiser {
 public:
  virtual ~Denoiser() = default;

  // One input image.
  virtual ImageShape input_shape() const = 0;

  // Channels of one prediction: C, or 2C where the network also predicts its variance.
  virtual int64_t output_channels() const = 0;

  // Labels run from 0 to num_classes() - 1; num_classes() itself is the null label.
  virtual int64_t num_classes() const = 0;

  // out_NCHW = network(x_NCHW, t_N, y_N), row-major f32 on the host.
  //   x_NCHW  [N, C, H, W]   noisy images, in [-1, 1] when clean
  //   t_N     [N]            time as the embedding takes it: integer steps in [0, 1000) for DDPM
  //                          models, a fraction in [0, 1] for rectified flow
  //   y_N     [N]            labels in [0, num_classes()]
  //   out     [N, output_channels(), H, W], does not alias x
  // Rows do not depend on each other: an image's bits are the same in any batch.
  // Throws base::Error (bad input) for a label out of range.
  virtual void predict(std::span<const float> x_NCHW,
                       std::span<const float> t_N,
                       std::span<const int32_t> y_N,
                       std::span<float> out) = 0;
};

}  // namespace ditmoe::diffusion
