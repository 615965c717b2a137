#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ditmoe::formats {

// The text chunks (tEXt, zTXt, iTXt) of a PNG file held in memory, in their order: keyword and
// UTF-8 text. Checksums are libpng's business. At most 4096 texts and 4 MiB of them in all, however
// small they are in the file. Throws bad_input naming path and the chunk's first byte.
std::vector<std::pair<std::string, std::string>> read_png_text(std::span<const std::byte> file,
                                                               const std::string& path);

}  // namespace ditmoe::formats
