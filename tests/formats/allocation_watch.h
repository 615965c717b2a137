#pragma once

#include <cstddef>

namespace ditmoe::formats::test {

// Counts what the whole program allocates on the heap while the object lives. One at a time.
class AllocationWatch {
 public:
  AllocationWatch();
  ~AllocationWatch();
  AllocationWatch(const AllocationWatch&) = delete;
  AllocationWatch& operator=(const AllocationWatch&) = delete;

  // The most bytes that were held at one moment, beyond those at the beginning.
  size_t peak() const;
};

// For those who see the allocations: malloc itself, or the sanitizer's hooks.
void count_allocated(size_t bytes);
void count_freed(size_t bytes);

}  // namespace ditmoe::formats::test
