#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace ditmoe::base {

// Memory that is given out piece by piece and freed all at once, on huge pages where the kernel has
// them: a product that streams through gigabytes of weights would otherwise miss the TLB at every
// few kilobytes. Pages are taken from the system when first written. Threads may take pieces at
// once.
class Arena {
 public:
  // Blocks are asked from the system in multiples of so many bytes.
  explicit Arena(size_t block_bytes = size_t{64} << 20);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeroed memory, aligned to 64 bytes, valid as long as the arena. Throws failure if there is
  // none.
  std::byte* take(size_t bytes);

  template <typename T>
  T* take_array(int64_t count) {
    return reinterpret_cast<T*>(take(static_cast<size_t>(count) * sizeof(T)));
  }

  // What has been asked from the system.
  size_t bytes() const;

 private:
  struct Block {
    std::byte* data = nullptr;
    size_t size = 0;
  };

  size_t block_bytes_;
  mutable std::mutex mutex_;
  std::vector<Block> blocks_;
  size_t used_ = 0;  // of the last block
};

}  // namespace ditmoe::base
