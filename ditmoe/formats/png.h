#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ditmoe::formats {

// An 8-bit image, rows top to bottom, channels interleaved: 1 grey, 3 RGB, 4 RGBA.
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 0;
  std::vector<uint8_t> pixels_HWC;
  std::vector<std::pair<std::string, std::string>> text;  // PNG text chunks: keyword, UTF-8 text
};

// Reads any PNG (palette, 16-bit and interlaced ones are expanded to 8-bit grey, RGB or RGBA).
// Throws bad_input for damage or more than 2^28 pixels.
Image read_png(const std::string& path);

// Writes a PNG with its text as iTXt/tEXt chunks; whole or not at all.
void write_png(const std::string& path, const Image& image);

}  // namespace ditmoe::formats
