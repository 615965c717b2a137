#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include <zlib.h>

namespace ditmoe::formats::test {

inline void append_big(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

inline std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  std::string out;
  append_big(out, static_cast<uint32_t>(data.size()));
  out += body;
  append_big(out,
             static_cast<uint32_t>(crc32(
                 0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
  return out;
}

inline std::string zlib_of(const std::string& content) {
  uLongf size = compressBound(content.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()),
           &size,
           reinterpret_cast<const Bytef*>(content.data()),
           content.size());
  out.resize(size);
  return out;
}

inline std::string png_header(
    uint32_t width, uint32_t height, int depth, int color, int interlace = 0) {
  std::string data;
  append_big(data, width);
  append_big(data, height);
  data += {static_cast<char>(depth), static_cast<char>(color), 0, 0, static_cast<char>(interlace)};
  return chunk("IHDR", data);
}

inline const std::string kPngSignature = "\x89PNG\r\n\x1a\n";

inline std::string png(const std::string& head,
                       const std::string& filtered,
                       const std::string& tail = "") {
  return kPngSignature + head + chunk("IDAT", zlib_of(filtered)) + tail + chunk("IEND", "");
}

inline std::string bytes_from(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out += static_cast<char>(value);
  return out;
}

}  // namespace ditmoe::formats::test
