#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "malformed.h"

// The files that have to be refused, a table for each parser. tests/formats/malformed_test.cpp
// reads them all; they are also what the fuzzers start from.

namespace ditmoe::formats::test {

std::vector<MalformedCase> idx_cases();
std::vector<MalformedCase> jpeg_cases();
std::vector<MalformedCase> json_cases();  // of metadata, settings, manifests: base::parse_json
std::vector<MalformedCase> npz_cases();   // the arrays inside
std::vector<MalformedCase> pickle_cases();
std::vector<MalformedCase> png_cases();
std::vector<MalformedCase> safetensors_cases();
std::vector<MalformedCase> toml_cases();
std::vector<MalformedCase> torch_archive_cases();
std::vector<MalformedCase> torch_tensor_cases();
std::vector<MalformedCase> zip_cases();  // the archive; read as npz

inline std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

// Overwrites bytes of file at offset; negative offsets count from the end.
inline std::string patched(std::string file, int64_t offset, const std::string& bytes) {
  const int64_t start = offset < 0 ? static_cast<int64_t>(file.size()) + offset : offset;
  return file.replace(static_cast<size_t>(start), bytes.size(), bytes);
}

// The cases with a word before their names, which keeps those of several tables apart.
inline std::vector<MalformedCase> prefixed(const std::string& word,
                                           std::vector<MalformedCase> cases) {
  for (MalformedCase& malformed : cases) malformed.name = word + "_" + malformed.name;
  return cases;
}

template <typename... Tables>
std::vector<MalformedCase> joined(std::vector<MalformedCase> first, const Tables&... others) {
  (first.insert(first.end(), others.begin(), others.end()), ...);
  return first;
}

}  // namespace ditmoe::formats::test
