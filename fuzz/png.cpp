#include "ditmoe/formats/png.h"

#include <zlib.h>

#include "target.h"

namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkBytes = 12;  // length, type and checksum

uint32_t load_big(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

// Makes the checksums right, which no mutation hits.
void mend_checksums(std::string& png) {
  auto* bytes = reinterpret_cast<uint8_t*>(png.data());
  for (size_t begin = kSignatureBytes; begin + kChunkBytes <= png.size();) {
    const size_t length = load_big(bytes + begin);
    if (length > png.size() - begin - kChunkBytes) return;
    const auto crc =
        static_cast<uint32_t>(crc32(0, bytes + begin + 4, static_cast<uInt>(length + 4)));
    for (int i = 0; i < 4; ++i) {
      bytes[begin + 8 + length + static_cast<size_t>(i)] =
          static_cast<uint8_t>(crc >> (24 - 8 * i));
    }
    begin += kChunkBytes + length;
  }
}

void read(std::string_view png) {
  using namespace ditmoe;
  fuzz::accepted([&] {
    const formats::Image image = formats::read_png(std::as_bytes(std::span(png)), fuzz::kPath);
    const auto expected = static_cast<size_t>(image.width * image.height * image.channels);
    if (image.pixels_HWC.size() != expected) fuzz::finding("pixels are missing");
  });
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view given = ditmoe::fuzz::text_of(data, size);
  read(given);
  std::string mended(given);
  mend_checksums(mended);
  if (mended != given) read(mended);
  return 0;
}
