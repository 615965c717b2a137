#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace ditmoe::formats {

// What a manifest keeps of a file.
struct Checksum {
  uint64_t bytes = 0;
  uint32_t crc32 = 0;
};

// Reads the whole file. Throws bad_input where it cannot be opened.
Checksum checksum_of(const std::string& path);

// XXH3 of 64 bits (github.com/Cyan4973/xxHash): finds damage at the speed of memory.
uint64_t hash64(std::span<const std::byte> bytes);

// The same of bytes that come in pieces.
class Hasher64 {
 public:
  Hasher64();
  ~Hasher64();

  void update(std::span<const std::byte> bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ditmoe::formats
