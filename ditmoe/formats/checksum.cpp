#include "ditmoe/formats/checksum.h"

#include <zlib.h>

#include "ditmoe/formats/file.h"

namespace ditmoe::formats {

Checksum checksum_of(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  const uLong crc =
      crc32_z(crc32_z(0, nullptr, 0), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  return {bytes.size(), static_cast<uint32_t>(crc)};
}

}  // namespace ditmoe::formats
