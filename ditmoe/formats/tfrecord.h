#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

// TFRecord files: records one after another, each the length of its content (8 bytes,
// little-endian), a masked CRC-32C of those 8, the content, a masked CRC-32C of it.

namespace ditmoe::formats {

// What a record may hold, written or read.
inline constexpr uint64_t kMaxTfrecordBytes = uint64_t{32} << 20;

// Appends a record; content of at most kMaxTfrecordBytes.
void append_tfrecord(std::string& out, std::string_view content);

// Reads records up to the first that is cut or damaged.
class TfrecordReader {
 public:
  // bytes must outlive the object and what it returns.
  explicit TfrecordReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  // The content of the next record; none at the end of the bytes, or where no good record follows:
  // damage() is not empty then.
  std::optional<std::span<const std::byte>> next();

  // Where the next record begins.
  size_t offset() const { return offset_; }

  // "byte 24: expected ..., found ...".
  const std::string& damage() const { return damage_; }

 private:
  std::span<const std::byte> bytes_;
  size_t offset_ = 0;
  std::string damage_;
};

}  // namespace ditmoe::formats
