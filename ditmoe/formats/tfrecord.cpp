#include "ditmoe/formats/tfrecord.h"

#include <bit>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/crc32c.h"

namespace ditmoe::formats {
namespace {

constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr size_t kChecksumBytes = sizeof(uint32_t);
constexpr size_t kHeadBytes = kLengthBytes + kChecksumBytes;

// The checksum of bytes that hold checksums themselves would be no good one, so it is stored in
// disguise (the format's own constants).
uint32_t masked_crc(std::span<const std::byte> bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// What is wrong with a checksum that stands at an offset behind the bytes it is of; "" if nothing.
std::string checksum_damage(std::span<const std::byte> bytes, size_t offset) {
  const uint32_t expected = masked_crc(bytes);
  const auto found = load_little<uint32_t>(bytes.data() + bytes.size());
  if (found == expected) return "";
  return fmt::format("byte {}: expected checksum {:08x}, found {:08x}", offset, expected, found);
}

}  // namespace

void append_tfrecord(std::string& out, std::string_view content) {
  DITMOE_ASSERT(content.size() <= kMaxTfrecordBytes);
  std::string length;
  append_little(length, uint64_t{content.size()});
  out += length;
  append_little(out, masked_crc(bytes_of(length)));
  out += content;
  append_little(out, masked_crc(bytes_of(content)));
}

std::optional<std::span<const std::byte>> TfrecordReader::next() {
  const auto rest = bytes_.subspan(offset_);
  if (rest.empty() || !damage_.empty()) return std::nullopt;
  if (rest.size() < kHeadBytes) {
    damage_ = fmt::format("byte {}: expected {} bytes of a record's head, found {}",
                          offset_,
                          kHeadBytes,
                          rest.size());
    return std::nullopt;
  }
  damage_ = checksum_damage(rest.first(kLengthBytes), offset_ + kLengthBytes);
  if (!damage_.empty()) return std::nullopt;
  const auto length = load_little<uint64_t>(rest.data());
  if (length > kMaxTfrecordBytes) {
    damage_ = fmt::format("byte {}: expected a record of at most {} bytes, found {}",
                          offset_,
                          kMaxTfrecordBytes,
                          length);
    return std::nullopt;
  }
  const size_t content_offset = offset_ + kHeadBytes;
  const size_t whole = kHeadBytes + static_cast<size_t>(length) + kChecksumBytes;
  if (rest.size() < whole) {
    damage_ = fmt::format("byte {}: expected {} more bytes of a record, found {}",
                          content_offset,
                          whole - kHeadBytes,
                          rest.size() - kHeadBytes);
    return std::nullopt;
  }
  const auto content = rest.subspan(kHeadBytes, static_cast<size_t>(length));
  damage_ = checksum_damage(content, content_offset + content.size());
  if (!damage_.empty()) return std::nullopt;
  offset_ += whole;
  return content;
}

}  // namespace ditmoe::formats
