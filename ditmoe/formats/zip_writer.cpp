#include <algorithm>

#include <zlib.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/zip.h"

namespace ditmoe::formats {
namespace {

constexpr uint64_t kSaturated32 = 0xFFFFFFFF;
constexpr uint64_t kSaturated16 = 0xFFFF;
constexpr uint16_t kFlagUtf8 = 1U << 11;
constexpr uint16_t kVersionPlain = 20;
constexpr uint16_t kVersionZip64 = 45;
constexpr uint32_t kFirstDate = 0x00210000;  // 1980-01-01 00:00: no clock in the file

uint32_t saturate(uint64_t value) { return static_cast<uint32_t>(std::min(value, kSaturated32)); }

// The zip64 field with those of the values that do not fit 32 bits; empty if all do.
std::string zip64_field(std::initializer_list<uint64_t> values) {
  std::string wide;
  for (const uint64_t value : values) {
    if (value >= kSaturated32) append_little(wide, value);
  }
  if (wide.empty()) return wide;
  std::string field;
  append_little(field, uint16_t{1});
  append_little(field, static_cast<uint16_t>(wide.size()));
  return field + wide;
}

// The fields a local and a central header share, from "version needed" to the extra field's length.
std::string common_fields(const std::string& name,
                          uint32_t crc,
                          uint64_t bytes,
                          const std::string& extra) {
  std::string out;
  append_little(out, extra.empty() ? kVersionPlain : kVersionZip64);
  append_little(out, kFlagUtf8);
  append_little(out, uint16_t{0});  // stored
  append_little(out, kFirstDate);
  append_little(out, crc);
  append_little(out, saturate(bytes));
  append_little(out, saturate(bytes));
  append_little(out, static_cast<uint16_t>(name.size()));
  append_little(out, static_cast<uint16_t>(extra.size()));
  return out;
}

}  // namespace

void ZipWriter::write(std::string_view text) {
  file_.write(text);
  position_ += text.size();
}

void ZipWriter::add(const std::string& name, const std::vector<std::span<const std::byte>>& parts) {
  DITMOE_ASSERT(name.size() <= kSaturated16);
  uint64_t bytes = 0;
  uLong crc = 0;
  for (const auto part : parts) {
    bytes += part.size();
    if (!part.empty()) {
      crc = crc32_z(crc, reinterpret_cast<const Bytef*>(part.data()), part.size());
    }
  }
  // A local header with zip64 holds both sizes; in a central one only what overflows.
  const std::string local_extra = zip64_field({bytes, bytes});
  const std::string central_extra = zip64_field({bytes, bytes, position_});

  append_little(directory_, uint32_t{0x02014B50});
  append_little(directory_, kVersionZip64);
  directory_ += common_fields(name, static_cast<uint32_t>(crc), bytes, central_extra);
  directory_.append(10, '\0');  // no comment, first part, no attributes
  append_little(directory_, saturate(position_));
  directory_ += name + central_extra;
  ++entries_;

  std::string header;
  append_little(header, uint32_t{0x04034B50});
  header += common_fields(name, static_cast<uint32_t>(crc), bytes, local_extra);
  write(header + name + local_extra);
  for (const auto part : parts) {
    file_.write(part);
    position_ += part.size();
  }
}

void ZipWriter::finish() {
  const uint64_t offset = position_;
  const uint64_t end = offset + directory_.size();
  std::string tail;
  if (entries_ >= kSaturated16 || directory_.size() >= kSaturated32 || offset >= kSaturated32) {
    append_little(tail, uint32_t{0x06064B50});
    append_little(tail, uint64_t{44});  // what follows of this record
    append_little(tail, kVersionZip64);
    append_little(tail, kVersionZip64);
    append_little(tail, uint64_t{0});  // part numbers
    append_little(tail, entries_);
    append_little(tail, entries_);
    append_little(tail, uint64_t{directory_.size()});
    append_little(tail, offset);
    append_little(tail, uint32_t{0x07064B50});
    append_little(tail, uint32_t{0});
    append_little(tail, end);
    append_little(tail, uint32_t{1});
  }
  append_little(tail, uint32_t{0x06054B50});
  append_little(tail, uint32_t{0});  // part numbers
  const auto entries = static_cast<uint16_t>(std::min(entries_, kSaturated16));
  append_little(tail, entries);
  append_little(tail, entries);
  append_little(tail, saturate(directory_.size()));
  append_little(tail, saturate(offset));
  append_little(tail, uint16_t{0});  // no comment
  write(directory_);
  write(tail);
}

}  // namespace ditmoe::formats
