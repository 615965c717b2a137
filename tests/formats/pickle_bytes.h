#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ditmoe/formats/bytes.h"

// Opcodes of pickles with their operands, to be put together.

namespace ditmoe::formats::test {

// A literal with zero bytes in it.
template <size_t kSize>
std::string raw(const char (&text)[kSize]) {
  return {text, kSize - 1};
}

inline std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text));
}

inline std::string pickled_text(std::string_view text) {
  std::string out = "X";
  append_little(out, static_cast<uint32_t>(text.size()));
  return out.append(text);
}

// The shortest opcode; LONG1 of 8 bytes beyond 32 bits.
inline std::string pickled_integer(int64_t value) {
  std::string out;
  if (value >= INT32_MIN && value <= INT32_MAX) {
    out = "J";
    append_little(out, static_cast<uint32_t>(value));
    return out;
  }
  out = "\x8a\x08";
  append_little(out, static_cast<uint64_t>(value));
  return out;
}

inline std::string pickled_global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}

}  // namespace ditmoe::formats::test
