#pragma once

#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "ditmoe/formats/bytes.h"

namespace ditmoe::formats::test {

// A .npy file of this header and data.
inline std::string npy(const std::string& header, size_t data_bytes = 0, char version = 1) {
  std::string file = std::string("\x93NUMPY") + version + '\0';
  append_little(file, static_cast<uint16_t>(header.size()));
  if (version > 1) append_little(file, uint16_t{0});
  return file + header + std::string(data_bytes, '\x01');
}

inline std::string dict(const std::string& descr,
                        const std::string& order,
                        const std::string& shape) {
  return fmt::format("{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}\n", descr, order, shape);
}

}  // namespace ditmoe::formats::test
