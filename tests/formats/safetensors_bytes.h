#pragma once

#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "ditmoe/formats/bytes.h"

namespace ditmoe::formats::test {

// A file with this header and data.
inline std::string file_of(const std::string& header, size_t data_bytes = 0) {
  std::string file;
  append_little(file, static_cast<uint64_t>(header.size()));
  return file + header + std::string(data_bytes, '\0');
}

// The header of two tensors of four bytes with these offsets.
inline std::string two(const std::string& first, const std::string& second) {
  return fmt::format(
      R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
      first,
      second);
}

}  // namespace ditmoe::formats::test
