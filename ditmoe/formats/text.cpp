#include "ditmoe/formats/text.h"

#include <algorithm>

#include "ditmoe/base/error.h"

namespace ditmoe::formats {
namespace {

constexpr char32_t kInvalid = 0xFFFFFFFF;

// The code point at position, which moves behind it; kInvalid for what is not UTF-8.
char32_t next_code_point(std::string_view text, size_t& position) {
  const auto lead = static_cast<unsigned char>(text[position++]);
  if (lead < 0x80) return lead;
  const int following = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4) return kInvalid;
  char32_t code = lead & (0x3FU >> following);
  for (int i = 0; i < following; ++i) {
    if (position == text.size()) return kInvalid;
    const auto byte = static_cast<unsigned char>(text[position++]);
    if ((byte & 0xC0U) != 0x80U) return kInvalid;
    code = code << 6 | (byte & 0x3FU);
  }
  constexpr char32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kSmallest[following] || code > 0x10FFFF || surrogate ? kInvalid : code;
}

// The largest code point, kInvalid if text is not UTF-8.
char32_t largest_code_point(std::string_view text) {
  char32_t largest = 0;
  for (size_t position = 0; position < text.size();) {
    largest = std::max(largest, next_code_point(text, position));
  }
  return largest;
}

}  // namespace

bool is_utf8(std::string_view text) { return largest_code_point(text) != kInvalid; }

bool fits_latin1(std::string_view utf8) { return largest_code_point(utf8) <= 0xFF; }

std::string latin1_to_utf8(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xC0U | code >> 6);
      out += static_cast<char>(0x80U | (code & 0x3FU));
    }
  }
  return out;
}

std::string utf8_to_latin1(std::string_view utf8) {
  std::string out;
  for (size_t position = 0; position < utf8.size();) {
    const char32_t code = next_code_point(utf8, position);
    DITMOE_ASSERT(code <= 0xFF);
    out += static_cast<char>(code);
  }
  return out;
}

}  // namespace ditmoe::formats
