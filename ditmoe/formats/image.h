#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ditmoe/formats/png.h"

namespace ditmoe::formats {

// Decodes a PNG or JPEG, told apart by content, to 8-bit RGB with the bits that Pillow's
// convert("RGB") gives: alpha and transparent colours are dropped, not blended; of 16 bits the
// upper 8 count; the first picture of an animation is read. One thing differs: 16-bit grey, which
// Pillow clips at 255 instead, so that almost all of it turns white.
// path names the file in messages. Throws bad_input as read_png and read_jpeg_rgb do, and for other
// formats.
Image read_image(std::span<const std::byte> bytes, const std::string& path);

// The same of a file.
Image read_image(const std::string& path);

}  // namespace ditmoe::formats
