#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace ditmoe::formats {

// A file read past the page cache where the file system can (O_DIRECT), for data that are larger
// than memory and would push everything else out of the cache.
class DirectFile {
 public:
  // Throws bad_input for a file that cannot be opened.
  static DirectFile open(const std::string& path);

  // Fills dst from `offset` on; offset, size and address of dst are multiples of 4096. Several
  // requests are under way at once. Threads may read at once. Throws failure naming the file.
  void read(uint64_t offset, std::span<std::byte> dst) const;

  // Whether the page cache is avoided.
  bool is_direct() const;

 private:
  struct Descriptor;
  std::shared_ptr<const Descriptor> descriptor_;
};

}  // namespace ditmoe::formats
