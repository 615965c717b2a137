#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "ditmoe/base/tensor.h"

namespace ditmoe::formats {

// An IDX file of unsigned bytes (MNIST, Fashion-MNIST), gzip'd or plain: magic 00 00 08 rank, then
// big-endian dimensions, then data. Throws bad_input with the byte offset for damage; the size
// implied by the header is compared with the data before it is kept.
base::Tensor read_idx(const std::string& path);

// The same of a file's bytes; path names them in messages.
base::Tensor read_idx(std::span<const std::byte> file, const std::string& path);

}  // namespace ditmoe::formats
