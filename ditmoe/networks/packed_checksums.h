#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::networks {

// The tensor that a packed file ends with, I64 [matrices + 1]: hash64 of each "*.packed" tensor in
// the order of the file, then of all that stands between the last of them and this one.
constexpr const char* kChecksumTensor = "packed.checksums";

// Finds out whether a packed file's bytes are those that were written.
class PackedChecksums {
 public:
  // Checks all but the matrices, which is little. Throws bad_input for damage.
  explicit PackedChecksums(const formats::TensorFile& file);

  // Throws bad_input naming the matrix if bytes are not its own.
  void check(const std::string& name, std::span<const std::byte> bytes) const;

  // Does so for all matrices of which a part of the file consists, which starts at `offset`.
  void check_region(uint64_t offset, std::span<const std::byte> bytes) const;

 private:
  struct Matrix {
    std::string name;
    uint64_t bytes = 0;
    uint64_t hash = 0;
  };

  [[noreturn]] void damaged(const std::string& name) const;

  std::string path_;
  std::map<uint64_t, Matrix> by_offset_;
  std::map<std::string, uint64_t> hash_by_name_;
};

}  // namespace ditmoe::networks
