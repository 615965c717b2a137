#include <cstring>
#include <utility>

#include <zlib.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/inflate.h"
#include "ditmoe/formats/zip.h"

namespace ditmoe::formats {

using base::bad_input;

bool has_right_checksum(const ZipEntry& stored) {
  DITMOE_ASSERT(!stored.deflated);
  const auto* data = reinterpret_cast<const Bytef*>(stored.stored.data());
  return crc32_z(0, data, stored.stored.size()) == stored.crc;
}

ZipEntryReader::ZipEntryReader(const ZipEntry& entry, std::string place)
    : entry_(entry), place_(std::move(place)) {
  if (entry.deflated) {
    inflater_ = std::make_unique<Inflater>(entry.stored, Inflater::Wrapping::kRaw, place_);
  }
}

ZipEntryReader::~ZipEntryReader() = default;

void ZipEntryReader::read(std::span<std::byte> out) {
  if (out.size() > remaining()) {
    bad_input("{}: byte {}: expected {} more bytes, found {}",
              place_,
              position_,
              out.size(),
              remaining());
  }
  if (inflater_ != nullptr) {
    if (const size_t found = inflater_->read(out); found != out.size()) {
      bad_input("{}: expected {} bytes, found {}", place_, entry_.bytes, position_ + found);
    }
  } else if (!out.empty()) {
    std::memcpy(out.data(), entry_.stored.data() + position_, out.size());
  }
  crc_ =
      static_cast<uint32_t>(crc32_z(crc_, reinterpret_cast<const Bytef*>(out.data()), out.size()));
  position_ += out.size();
}

void ZipEntryReader::finish() {
  if (remaining() != 0) {
    bad_input("{}: byte {}: expected the end, found {} more bytes", place_, position_, remaining());
  }
  if (inflater_ != nullptr && !inflater_->finish()) {
    bad_input("{}: expected {} bytes, found more", place_, entry_.bytes);
  }
  if (crc_ != entry_.crc) {
    bad_input("{}: expected checksum {:08x}, found {:08x}", place_, entry_.crc, crc_);
  }
}

}  // namespace ditmoe::formats
