#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <zlib.h>

#include "deflate_bytes.h"

namespace ditmoe::formats::test {

inline std::string gzip(const std::string& content) {
  return deflated_bytes(content, 16 + MAX_WBITS);
}

// A header: 00 00 type rank and big-endian dimensions.
inline std::string idx_header(char type, const std::vector<uint32_t>& dims) {
  std::string out = {0, 0, type, static_cast<char>(dims.size())};
  for (const uint32_t dim : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(dim >> shift);
  }
  return out;
}

}  // namespace ditmoe::formats::test
