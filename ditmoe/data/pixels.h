#pragma once

#include <cstdint>
#include <span>

namespace ditmoe::data {

// 8-bit pixels [H, W, C] as networks see them: out_CHW [out_channels, H, W] f32 in [-1, 1], each
// value / 127.5 - 1. channels and out_channels are 1 or 3: grey is repeated for colours, colours
// are turned grey by the weights of ITU-R 601, rounded to 8 bits as Pillow's convert("L") does.
void scale_pixels(std::span<const uint8_t> pixels_HWC,
                  int64_t channels,
                  int64_t out_channels,
                  std::span<float> out_CHW);

// The mirror image, left to right, in place; rows of `width` values.
void mirror_rows(std::span<float> image_CHW, int64_t width);

}  // namespace ditmoe::data
