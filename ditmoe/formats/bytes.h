#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "ditmoe/base/tensor.h"

// What the parsers of this folder share.

namespace ditmoe::formats {

static_assert(std::endian::native == std::endian::little, "files are read in native byte order");

// Dimensions a tensor in a file may have.
inline constexpr size_t kMaxRank = 8;

// No deflate stream expands by more than this (RFC 1951: 258 bytes from two bits).
inline constexpr uint64_t kMaxInflation = 1032;

// What compressed data may expand to, beyond the file's size, on their word alone. For more they
// are decompressed once to see that they hold it before memory is taken.
inline constexpr uint64_t kMaxUnproven = uint64_t{32} << 20;

// The little-endian integer at data, which need not be aligned.
template <typename T>
T load_little(const std::byte* data) {
  static_assert(std::is_unsigned_v<T>);
  T value;
  std::memcpy(&value, data, sizeof(T));
  return value;
}

// Appends the bytes of value, lowest first.
template <typename T>
void append_little(std::string& out, T value) {
  static_assert(std::is_unsigned_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Limits the names of a file's tensors, which are kept several times over: 1024 bytes each, 8 MiB
// together.
class NameLengths {
 public:
  // path must outlive the object.
  explicit NameLengths(const std::string& path) : path_(path) {}

  // Throws bad_input naming path and name beyond the limits.
  void add(std::string_view name);

 private:
  const std::string& path_;
  size_t bytes_ = 0;
};

// Text from a file made fit for a message of one line: quoted, escaped, shortened.
std::string printable(std::string_view text);

// Bytes of a tensor; nullopt where that overflows or a dimension is negative.
std::optional<uint64_t> tensor_bytes(const base::Shape& shape, base::DType dtype);

}  // namespace ditmoe::formats
