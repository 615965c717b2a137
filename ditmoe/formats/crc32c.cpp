#include "ditmoe/formats/crc32c.h"

#include <nmmintrin.h>

#include "ditmoe/formats/bytes.h"

namespace ditmoe::formats {

uint32_t crc32c(std::span<const std::byte> bytes) {
  constexpr uint32_t kAllOnes = 0xFFFFFFFF;
  uint64_t wide = kAllOnes;
  for (; bytes.size() >= sizeof(uint64_t); bytes = bytes.subspan(sizeof(uint64_t))) {
    wide = _mm_crc32_u64(wide, load_little<uint64_t>(bytes.data()));
  }
  auto crc = static_cast<uint32_t>(wide);
  for (const std::byte byte : bytes) crc = _mm_crc32_u8(crc, std::to_integer<uint8_t>(byte));
  return crc ^ kAllOnes;
}

}  // namespace ditmoe::formats
