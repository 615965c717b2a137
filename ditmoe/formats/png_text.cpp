#include "ditmoe/formats/png_text.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/inflate.h"
#include "ditmoe/formats/text.h"

// Layout of the chunks: PNG 5.3 and 11.3.3.

namespace ditmoe::formats {
namespace {

using base::bad_input;

constexpr size_t kSignatureBytes = 8;
constexpr size_t kHeadBytes = 8;  // length and type
constexpr size_t kChecksumBytes = 4;
constexpr size_t kMaxTexts = 4096;
constexpr size_t kMaxTextBytes = size_t{4} << 20;

using Texts = std::vector<std::pair<std::string, std::string>>;

class TextReader {
 public:
  explicit TextReader(const std::string& path) : path_(path) {}

  // data is the content of the chunk of this type that begins at byte `position` of the file.
  void add(std::string_view type, std::string_view data, size_t position) {
    place_ = fmt::format("{}: byte {}: text", path_, position);
    if (texts_.size() == kMaxTexts) {
      bad_input("{}: expected at most {} texts, found more", place_, kMaxTexts);
    }
    const std::string_view key = up_to_zero(data);
    if (key.empty() || key.size() > 79) {
      bad_input("{}: expected a keyword of 1 to 79 bytes, found {}", place_, key.size());
    }
    std::string keyword = latin1_to_utf8(key);
    place_ += fmt::format(" {}", printable(keyword));
    std::string text;
    if (type == "tEXt") {
      check_size(data.size());
      text = latin1_to_utf8(data);
    } else if (type == "zTXt") {
      if (!data.starts_with('\0')) bad_input("{}: expected compression method 0", place_);
      text = latin1_to_utf8(inflated(data.substr(1)));
    } else {
      text = international(data);
    }
    bytes_ += keyword.size() + text.size();
    check_size(0);  // Latin-1 has grown
    texts_.emplace_back(std::move(keyword), std::move(text));
  }

  Texts take() { return std::move(texts_); }

 private:
  void check_size(size_t more) const {
    if (bytes_ + more > kMaxTextBytes) {
      bad_input("{}: expected at most {} bytes of text, found more", place_, kMaxTextBytes);
    }
  }

  // What stands before the next zero byte; data goes on behind it.
  std::string_view up_to_zero(std::string_view& data) const {
    const size_t zero = data.find('\0');
    if (zero == std::string_view::npos) bad_input("{}: expected a zero byte, found none", place_);
    const std::string_view before = data.substr(0, zero);
    data.remove_prefix(zero + 1);
    return before;
  }

  std::string inflated(std::string_view data) const {
    Inflater inflater(std::as_bytes(std::span(data)), Inflater::Wrapping::kZlib, place_);
    std::string text;
    std::array<char, 4096> piece = {};
    while (const size_t bytes = inflater.read(std::as_writable_bytes(std::span(piece)))) {
      check_size(text.size() + bytes);
      text.append(piece.data(), bytes);
    }
    if (!inflater.finish()) bad_input("{}: expected the end of the text, found more", place_);
    return text;
  }

  std::string international(std::string_view data) const {
    if (data.size() < 2 || data[0] < 0 || data[0] > 1 || data[1] != 0) {
      bad_input("{}: expected compression flag 0 or 1 and method 0", place_);
    }
    const bool compressed = data[0] == 1;
    data.remove_prefix(2);
    up_to_zero(data);  // language
    up_to_zero(data);  // translated keyword
    if (!compressed) check_size(data.size());
    std::string text = compressed ? inflated(data) : std::string(data);
    if (!is_utf8(text)) bad_input("{}: expected UTF-8", place_);
    return text;
  }

  const std::string& path_;
  std::string place_;
  size_t bytes_ = 0;
  Texts texts_;
};

uint32_t load_big(std::span<const std::byte> bytes) {
  uint32_t value = 0;
  for (const std::byte byte : bytes.first(4)) value = value << 8 | std::to_integer<uint32_t>(byte);
  return value;
}

}  // namespace

Texts read_png_text(std::span<const std::byte> file, const std::string& path) {
  TextReader reader(path);
  size_t position = kSignatureBytes;
  while (position + kHeadBytes <= file.size()) {
    const auto chunk = file.subspan(position);
    const uint64_t length = load_big(chunk);
    const std::string_view type(reinterpret_cast<const char*>(chunk.data()) + 4, 4);
    if (type == "IEND") break;
    if (length + kHeadBytes + kChecksumBytes > chunk.size()) {
      bad_input("{}: byte {}: expected {} bytes of chunk {}, found the end of the file",
                path,
                position,
                length,
                printable(type));
    }
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") {
      const auto data = chunk.subspan(kHeadBytes, static_cast<size_t>(length));
      reader.add(type, {reinterpret_cast<const char*>(data.data()), data.size()}, position);
    }
    position += kHeadBytes + static_cast<size_t>(length) + kChecksumBytes;
  }
  return reader.take();
}

}  // namespace ditmoe::formats
