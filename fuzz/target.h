#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "ditmoe/base/error.h"
#include "ditmoe/base/function_ref.h"

// What the targets share. Each defines LLVMFuzzerTestOneInput, which must return whatever the
// bytes.

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace ditmoe::fuzz {

// What the targets call their input.
inline const std::string kPath = "input";

inline std::span<const std::byte> bytes_of(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the program: a finding.
[[noreturn]] inline void finding(const std::string& what) {
  std::fprintf(stderr, "finding: %s\n", what.c_str());
  std::abort();
}

// Runs read, which may refuse its input as every reader has to: bad_input, in one line of bounded
// length that begins with the input's name. Everything else it throws is a finding. Returns whether
// the input was accepted.
inline bool accepted(base::FunctionRef<void()> read) {
  try {
    read();
    return true;
  } catch (const base::Error& error) {
    const std::string message = error.what();
    if (error.kind() != base::ErrorKind::kBadInput) finding("not bad_input: " + message);
    if (!message.starts_with(kPath)) finding("names no file: " + message);
    if (message.find('\n') != std::string::npos) finding("more than one line: " + message);
    if (message.size() > 2000) finding("long message: " + message);
    return false;
  }
}

}  // namespace ditmoe::fuzz
