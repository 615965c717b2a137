#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
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

// Of any image that is read: where Pillow suspects a decompression bomb.
inline constexpr uint64_t kMaxPixels = 178'956'970;

// Reads any PNG (palette, 16-bit and interlaced ones are expanded to 8-bit grey, RGB or RGBA).
// Throws bad_input for damage, more than kMaxPixels or 2^20 on a side, or over 4 MiB of text,
// failure for want of memory.
Image read_png(const std::string& path);

// The same of a file's bytes; path names them in messages.
Image read_png(std::span<const std::byte> bytes, const std::string& path);

// The same as RGB: alpha and transparent colours are dropped, of 16 bits the upper 8 count, text is
// neither read nor checked.
Image read_png_rgb(std::span<const std::byte> bytes, const std::string& path);

// Writes a PNG with its text as iTXt/tEXt chunks; whole or not at all.
void write_png(const std::string& path, const Image& image);

}  // namespace ditmoe::formats
