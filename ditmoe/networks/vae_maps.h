#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/kernels/map_shape.h"

namespace ditmoe::networks {

class MapMemory;

// A map of features and the sums of its rows that a GroupNorm wants. Its memory goes back to where
// it was taken from.
class Map {
 public:
  Map(Map&& other) noexcept
      : shape_(other.shape_),
        data_(other.data_),
        memory_(std::exchange(other.memory_, nullptr)),
        slot_(other.slot_) {}

  Map& operator=(Map&& other) noexcept;

  ~Map() { give_back(); }

  const kernels::MapShape& shape() const { return shape_; }

  float* data() const { return data_; }

  // [height, 2, channels], see kernels/group_norm.h.
  double* row_sums() const;

 private:
  friend class MapMemory;

  Map(const kernels::MapShape& shape, float* data, MapMemory* memory, size_t slot)
      : shape_(shape), data_(data), memory_(memory), slot_(slot) {}

  void give_back();

  kernels::MapShape shape_;
  float* data_ = nullptr;
  MapMemory* memory_ = nullptr;
  size_t slot_ = 0;
};

// Memory of maps, kept for the next: a few pieces, each as large as the largest map it has held.
class MapMemory {
 public:
  // A map whose contents are undefined; the memory must outlive it.
  Map take(const kernels::MapShape& shape);

 private:
  friend class Map;

  struct Slot {
    std::unique_ptr<base::Arena> arena;
    std::byte* data = nullptr;
    size_t bytes = 0;
    bool taken = false;
  };

  std::vector<Slot> slots_;
};

}  // namespace ditmoe::networks
