#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ditmoe/base/json.h"

namespace ditmoe::formats {

// A TOML document read key by key. Every key that is asked for becomes known; finish() rejects the
// others and suggests the nearest known key. Keys are dotted paths: "train.batch_size".
class TomlDocument {
 public:
  // Throws bad_input "<path>:<line>: ..." for malformed TOML, more than 256 KiB of it, or keys of
  // more than 32 parts.
  static TomlDocument open(const std::string& path);
  static TomlDocument parse(const std::string& text, const std::string& source);

  // Applies "key=value" (value in TOML syntax; a bare word or path is taken as a string).
  void set(const std::string& assignment);

  // Overwrites value if the key is present. A wrong type throws bad_input with file, line, key,
  // expected and found. A number may be written as an integer, and must be finite.
  void get(const std::string& key, int64_t& value);
  void get(const std::string& key, double& value);
  void get(const std::string& key, bool& value);
  void get(const std::string& key, std::string& value);
  void get(const std::string& key, std::vector<int64_t>& value);
  void get(const std::string& key, std::vector<std::string>& value);

  bool contains(const std::string& key) const;

  // "fashion.toml:12: train.lr": where a message about the key should point.
  std::string where(const std::string& key) const;

  // Throws bad_input for a key nobody asked for: "fashion.toml:12: unknown key 'train.lrr', did you
  // mean 'train.lr'?".
  void finish() const;

 private:
  struct Contents;
  std::shared_ptr<Contents> contents_;
};

// The candidate with the smallest edit distance to word, if it is close enough to be meant; else
// "".
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace ditmoe::formats
