#include "ditmoe/formats/checksum.h"

#define XXH_INLINE_ALL
#include <algorithm>
#include <xxhash.h>

#include <zlib.h>

#include "ditmoe/formats/file.h"

namespace ditmoe::formats {

Checksum checksum_of(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  // In pieces that are handed back, or the whole file would count as this process's memory.
  constexpr size_t kPiece = size_t{16} << 20;
  uLong crc = crc32_z(0, nullptr, 0);
  for (size_t first = 0; first < bytes.size(); first += kPiece) {
    const auto piece = bytes.subspan(first, std::min(kPiece, bytes.size() - first));
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(piece.data()), piece.size());
    file.release(piece);
  }
  file.expect_whole();
  return {bytes.size(), static_cast<uint32_t>(crc)};
}

uint64_t hash64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

struct Hasher64::State {
  XXH3_state_t xxh3;
};

Hasher64::Hasher64() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh3); }

Hasher64::~Hasher64() = default;

void Hasher64::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh3, bytes.data(), bytes.size());
}

uint64_t Hasher64::digest() const { return XXH3_64bits_digest(&state_->xxh3); }

}  // namespace ditmoe::formats
