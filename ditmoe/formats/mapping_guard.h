#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ditmoe::formats {

// A file mapped into memory kills the process (SIGBUS) where it is looked at after somebody has
// made the file shorter, or where the disk fails. Ranges that are guarded read as zeros there
// instead, and know it.
//
// The first guard installs a handler of SIGBUS; faults outside all guarded ranges go to the one
// before it.
class MappingGuard {
 public:
  explicit MappingGuard(std::span<const std::byte> range);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

  // Whether something in the range could not be read so far.
  bool lost() const;

  // A range as the handler sees it; free while end is 0. Never deleted, so that the handler can
  // walk the list at any moment.
  struct Range {
    std::atomic<uintptr_t> begin = 0;
    std::atomic<uintptr_t> end = 0;
    std::atomic<bool> lost = false;
    std::atomic<bool> taken = true;
    Range* next = nullptr;
  };

 private:
  Range* range_;
};

}  // namespace ditmoe::formats
