#include "ditmoe/networks/packed_checksums.h"

#include <cstring>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/checksum.h"

namespace ditmoe::networks {

PackedChecksums::PackedChecksums(const formats::TensorFile& file) : path_(file.path()) {
  const base::TensorView stored = file.view(kChecksumTensor);
  const auto hash = [&](size_t index) {
    DITMOE_ASSERT(static_cast<int64_t>(index) < stored.size());
    uint64_t value = 0;
    std::memcpy(&value, stored.data + index * sizeof(value), sizeof(value));
    return value;
  };
  formats::Hasher64 rest;
  for (const formats::TensorEntry& entry : file.entries()) {
    if (entry.name.ends_with(".packed")) {
      const uint64_t expected = hash(by_offset_.size());
      by_offset_[entry.offset] = {entry.name, entry.bytes, expected};
      hash_by_name_[entry.name] = expected;
    } else if (entry.name != kChecksumTensor) {
      rest.update({file.view(entry.name).data, entry.bytes});
    }
  }
  if (rest.digest() != hash(by_offset_.size())) damaged("the scales, biases and small tensors");
}

void PackedChecksums::check(const std::string& name, std::span<const std::byte> bytes) const {
  if (formats::hash64(bytes) != hash_by_name_.at(name)) damaged("tensor '" + name + "'");
}

void PackedChecksums::check_region(uint64_t offset, std::span<const std::byte> bytes) const {
  for (auto at = by_offset_.lower_bound(offset);
       at != by_offset_.end() && at->first + at->second.bytes <= offset + bytes.size();
       ++at) {
    const Matrix& matrix = at->second;
    check(matrix.name, bytes.subspan(at->first - offset, matrix.bytes));
  }
}

void PackedChecksums::damaged(const std::string& name) const {
  base::bad_input(
      "{}: {}: the file is damaged: its bytes do not have the checksum they were "
      "written with",
      path_,
      name);
}

}  // namespace ditmoe::networks
