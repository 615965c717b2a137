#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "ditmoe/base/tensor.h"

namespace ditmoe::formats {

// What the head of a .npy file says (numpy.lib.format, versions 1 to 3).
struct NpyHeader {
  base::DType dtype = base::DType::kF32;
  base::Shape shape;
};

// Bytes every .npy file begins with: magic, version and the first half of the header's length.
inline constexpr size_t kNpyPrefixBytes = 10;

// Longest header accepted; NumPy's own limit.
inline constexpr size_t kMaxNpyHeaderBytes = 10'000;

// Parses the dictionary, {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }, and nothing
// more: it is data, never evaluated. Throws bad_input that begins with place.
NpyHeader parse_npy_header(std::string_view text, const std::string& place);

// Everything before the data of a .npy file (version 1), a multiple of 64 bytes.
// Throws failure for bf16, which NumPy does not have.
std::string npy_head(const NpyHeader& header, const std::string& place);

}  // namespace ditmoe::formats
