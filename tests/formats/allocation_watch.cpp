#include "allocation_watch.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ditmoe::formats::test {
namespace {

std::atomic<bool> watching = false;
std::atomic<int64_t> held = 0;
std::atomic<int64_t> most_held = 0;

}  // namespace

AllocationWatch::AllocationWatch() {
  held = 0;
  most_held = 0;
  watching = true;
}

AllocationWatch::~AllocationWatch() { watching = false; }

size_t AllocationWatch::peak() const { return static_cast<size_t>(most_held); }

void count_allocated(size_t bytes) {
  if (!watching) return;
  const int64_t now = held += static_cast<int64_t>(bytes);
  int64_t before = most_held;
  while (before < now && !most_held.compare_exchange_weak(before, now)) {
  }
}

void count_freed(size_t bytes) {
  if (watching) held -= static_cast<int64_t>(bytes);
}

}  // namespace ditmoe::formats::test
