#include "ditmoe/base/quoted.h"

#include <fmt/format.h>

namespace ditmoe::base {
namespace {

// Bytes of the UTF-8 character that text starts with; 0 where it starts with none.
size_t character_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (lead > 0xF4 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  }
  return length;
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

bool needs_escape(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return value < 0x20 || value == 0x7F || byte == '"' || byte == '\\';
}

}  // namespace

std::string quoted(std::string_view text, size_t longest) {
  const size_t full_size = text.size();
  text = text.substr(0, longest);
  std::string out = "\"";
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0 || needs_escape(text[0])) {
      append_escaped(out, text[0]);
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  out += '"';
  if (full_size > longest) out += fmt::format("... ({} bytes)", full_size);
  return out;
}

}  // namespace ditmoe::base
