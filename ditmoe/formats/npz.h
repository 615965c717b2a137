#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ditmoe/base/tensor.h"

namespace ditmoe::formats {

// All arrays of a NumPy .npz archive (zip of .npy), by name without ".npy".
// Entries may be stored or deflated; dtypes f2 f4 f8 i1 i2 i4 i8 u1 b1, little-endian, C order;
// zip64 read. Throws bad_input naming the file and entry for anything else and for damage (CRC
// checked).
std::map<std::string, base::Tensor> read_npz(const std::string& path);

// The same of a file's bytes; path names them in messages.
std::map<std::string, base::Tensor> read_npz(std::span<const std::byte> archive,
                                             const std::string& path);

// Writes arrays stored (not deflated), zip64 where needed; whole or not at all.
void write_npz(const std::string& path,
               const std::vector<std::pair<std::string, base::TensorView>>& arrays);

// read_npz result helpers: the named array, or bad_input "<path>: expected array '<name>'".
const base::Tensor& array(const std::map<std::string, base::Tensor>& arrays,
                          const std::string& name,
                          const std::string& path);

}  // namespace ditmoe::formats
