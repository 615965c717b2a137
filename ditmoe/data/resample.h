#pragma once

#include <cstdint>

#include "ditmoe/formats/png.h"

namespace ditmoe::data {

enum class Filter {
  kBox,      // mean of the pixels covered
  kBicubic,  // Keys' kernel with a = -1/2
};

// A part of a picture, in pixels.
struct Window {
  int64_t x = 0;
  int64_t y = 0;
  int64_t width = 0;
  int64_t height = 0;
};

// The picture resized to width x height, cut to `window` of the result; only that part is computed.
// Bit for bit Pillow's Image.resize of 8-bit channels: weights in 22 bits of fixed point, filters
// widened by the factor of reduction, rows first, rounded to 8 bits in between. Scales of 1 copy.
// Sizes are positive and the window lies within; anything else is a bug.
formats::Image resize(const formats::Image& image,
                      int64_t width,
                      int64_t height,
                      Filter filter,
                      const Window& window);

}  // namespace ditmoe::data
