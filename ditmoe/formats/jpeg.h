#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ditmoe/formats/png.h"

namespace ditmoe::formats {

// Decodes a JPEG of one, three or four components to 8-bit RGB, bit for bit as Pillow's
// convert("RGB") does with the same libjpeg: accurate integer DCT, smooth chroma upsampling; CMYK
// and YCCK read as Adobe writes them (inverted). The EXIF orientation is not applied.
// A file of several scans (progressive) takes up to 32 MiB and 256 times its size of memory while
// it is read; others are known to be good before more than 32 MiB are taken. path names the file in
// messages. Throws bad_input with the byte offset for damage, which includes a file cut short and
// every other fault that leaves pixels guessed, for more than 178,956,970 pixels, more than the
// file can hold, or more than 256 scans (of many pixels fewer: 2^28 pixels in all scans, and 1024
// for each byte of the file). Throws failure for want of memory.
Image read_jpeg_rgb(std::span<const std::byte> file, const std::string& path);

}  // namespace ditmoe::formats
