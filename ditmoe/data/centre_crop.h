#pragma once

#include <cstdint>

#include "ditmoe/formats/png.h"

namespace ditmoe::data {

// The square of size x size pixels that guided diffusion and DiT train on (their center_crop_arr):
// halved by averaging while the shorter side is at least twice `size`, resized bicubically so that
// the shorter side is `size`, then cut around the centre. Bit for bit as Pillow computes it.
// size > 0 and an image of at least a pixel, or it is a bug.
formats::Image centre_crop(formats::Image image, int64_t size);

}  // namespace ditmoe::data
