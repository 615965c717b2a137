#include "ditmoe/base/arena.h"

#include <algorithm>
#include <sys/mman.h>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t bytes, size_t multiple) {
  return (bytes + multiple - 1) / multiple * multiple;
}

// An anonymous mapping that begins at a huge page.
std::byte* map_aligned(size_t bytes) {
  void* raw =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) failure("out of memory: no {} bytes to be had", bytes);
  auto* first = static_cast<std::byte*>(raw);
  const size_t before =
      round_up(reinterpret_cast<size_t>(first), kHugePage) - reinterpret_cast<size_t>(first);
  if (before > 0) munmap(first, before);
  munmap(first + before + bytes, kHugePage - before);
  madvise(first + before, bytes, MADV_HUGEPAGE);  // a kernel without them has small pages
  return first + before;
}

}  // namespace

Arena::Arena(size_t block_bytes) : block_bytes_(block_bytes) {}

Arena::~Arena() {
  for (const Block& block : blocks_) munmap(block.data, block.size);
}

std::byte* Arena::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t size = round_up(std::max<size_t>(bytes, 1), kAlignment);
  if (blocks_.empty() || blocks_.back().size - used_ < size) {
    const size_t block = round_up(std::max(size, block_bytes_), kHugePage);
    blocks_.push_back({map_aligned(block), block});
    used_ = 0;
  }
  std::byte* piece = blocks_.back().data + used_;
  used_ += size;
  return piece;
}

size_t Arena::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const Block& block : blocks_) total += block.size;
  return total;
}

}  // namespace ditmoe::base
