#pragma once

#include <cstdint>
#include <span>

#include "ditmoe/base/tensor.h"

namespace ditmoe::data {

// Turns images into the Gaussians of an autoencoder's latents.
class LatentEncoder {
 public:
  virtual ~LatentEncoder() = default;

  // [C, h, w] of the latent of an image of image_size x image_size. Throws bad_input for a size it
  // cannot encode.
  virtual base::Shape latent_shape(int64_t image_size) const = 0;

  // images_NHWC: [N, size, size, 3] u8. mean and logvar: [N, C, h, w]; an image's values do not
  // depend on those beside it.
  virtual void encode(const base::TensorView& images_NHWC,
                      std::span<float> mean,
                      std::span<float> logvar) = 0;
};

}  // namespace ditmoe::data
