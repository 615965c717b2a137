#include "ditmoe/formats/image.h"

#include <string_view>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/jpeg.h"

namespace ditmoe::formats {
namespace {

using std::string_view_literals::operator""sv;

// What else image folders contain, by how it begins.
std::string_view name_of_other(std::string_view file) {
  if (file.empty()) return "an empty file";
  if (file.starts_with("GIF8")) return "a GIF";
  if (file.starts_with("RIFF") && file.substr(0, 12).ends_with("WEBP")) return "a WebP";
  if (file.starts_with("BM")) return "a BMP";
  if (file.starts_with("II*\0"sv) || file.starts_with("MM\0*"sv)) return "a TIFF";
  if (file.starts_with("\xFF\x0A") || file.starts_with("\0\0\0\x0CJXL "sv)) return "a JPEG XL";
  if (file.starts_with("\0\0\0\x0CjP  "sv)) return "a JPEG 2000";
  if (file.substr(0, 12).find("ftypavif") == 4) return "an AVIF";
  return "something else";
}

}  // namespace

Image read_image(std::span<const std::byte> bytes, const std::string& path) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("\x89PNG\r\n\x1A\n")) return read_png_rgb(bytes, path);
  if (text.starts_with("\xFF\xD8\xFF")) return read_jpeg_rgb(bytes, path);
  base::bad_input("{}: byte 0: expected a PNG or a JPEG, found {}", path, name_of_other(text));
}

Image read_image(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  Image image = read_image(file.bytes(), path);
  file.expect_whole();
  return image;
}

}  // namespace ditmoe::formats
