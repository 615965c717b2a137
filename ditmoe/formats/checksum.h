#pragma once

#include <cstdint>
#include <string>

namespace ditmoe::formats {

// What a manifest keeps of a file.
struct Checksum {
  uint64_t bytes = 0;
  uint32_t crc32 = 0;
};

// Reads the whole file. Throws bad_input where it cannot be opened.
Checksum checksum_of(const std::string& path);

}  // namespace ditmoe::formats
