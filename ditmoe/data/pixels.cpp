#include "ditmoe/data/pixels.h"

#include <algorithm>

#include "ditmoe/base/error.h"

namespace ditmoe::data {
namespace {

float scaled(uint8_t pixel) { return static_cast<float>(pixel) / 127.5F - 1.0F; }

uint8_t grey_of(const uint8_t* rgb) {
  return static_cast<uint8_t>((19595U * rgb[0] + 38470U * rgb[1] + 7471U * rgb[2] + 0x8000U) >> 16);
}

}  // namespace

void scale_pixels(std::span<const uint8_t> pixels_HWC,
                  int64_t channels,
                  int64_t out_channels,
                  std::span<float> out_CHW) {
  DITMOE_ASSERT((channels == 1 || channels == 3) && (out_channels == 1 || out_channels == 3));
  const auto stride = static_cast<size_t>(channels);
  const size_t plane = pixels_HWC.size() / stride;
  DITMOE_ASSERT(out_CHW.size() == plane * static_cast<size_t>(out_channels));
  if (channels == 3 && out_channels == 1) {
    for (size_t i = 0; i < plane; ++i) out_CHW[i] = scaled(grey_of(&pixels_HWC[3 * i]));
    return;
  }
  for (size_t c = 0; c < static_cast<size_t>(out_channels); ++c) {
    const size_t source = channels == 1 ? 0 : c;
    for (size_t i = 0; i < plane; ++i) {
      out_CHW[c * plane + i] = scaled(pixels_HWC[i * stride + source]);
    }
  }
}

void mirror_rows(std::span<float> image_CHW, int64_t width) {
  DITMOE_ASSERT(width > 0 && image_CHW.size() % static_cast<size_t>(width) == 0);
  for (auto row = image_CHW.begin(); row != image_CHW.end(); row += width) {
    std::reverse(row, row + width);
  }
}

}  // namespace ditmoe::data
