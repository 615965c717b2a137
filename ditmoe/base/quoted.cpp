#include "ditmoe/base/quoted.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace ditmoe::base {
namespace {

struct Character {
  size_t length = 0;  // in bytes; 0 where text starts with none
  uint32_t code_point = 0;
};

// The UTF-8 character that text starts with (RFC 3629: no surrogates, nothing overlong).
Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (length == 0 || lead > 0xF4 || length > text.size()) return {};
  if (length == 1) return {1, lead};
  uint32_t code_point = lead & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0) != 0x80) return {};
    code_point = code_point << 6 | (byte & 0x3FU);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (code_point < kSmallest[length] || is_surrogate || code_point > 0x10FFFF) return {};
  return {length, code_point};
}

void append_escaped(std::string& out, char byte) {
  switch (byte) {
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    default:
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  }
}

// What ends a line, commands a terminal, or turns the direction of what follows.
bool needs_escape(uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0) || code_point == 0x061C ||
         code_point == 0x200E || code_point == 0x200F ||
         (code_point >= 0x2028 && code_point <= 0x202E) ||
         (code_point >= 0x2066 && code_point <= 0x2069);
}

// also: further characters to escape, of one byte.
void append_text(std::string& out, std::string_view text, std::string_view also) {
  while (!text.empty()) {
    const auto [length, code_point] = first_character(text);
    const bool is_escaped =
        length == 0 || needs_escape(code_point) || also.find(text[0]) != std::string_view::npos;
    const std::string_view bytes = text.substr(0, std::max<size_t>(length, 1));
    for (const char byte : bytes) {
      if (is_escaped) {
        append_escaped(out, byte);
      } else {
        out += byte;
      }
    }
    text.remove_prefix(bytes.size());
  }
}

}  // namespace

std::string quoted(std::string_view text, size_t longest) {
  std::string out = "\"";
  append_text(out, text.substr(0, longest), "\"\\");
  out += '"';
  if (text.size() > longest) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  append_text(out, text, "");
  return out;
}

}  // namespace ditmoe::base
