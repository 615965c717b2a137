#include "ditmoe/networks/vae_maps.h"

#include <cstddef>

namespace ditmoe::networks {
namespace {

// Floats of a map, whole cache lines.
int64_t padded_size(const kernels::MapShape& shape) { return (shape.size() + 15) / 16 * 16; }

size_t bytes_of(const kernels::MapShape& shape) {
  const int64_t sums = 2 * shape.height * shape.channels;
  return static_cast<size_t>(padded_size(shape)) * sizeof(float) +
         static_cast<size_t>(sums) * sizeof(double);
}

}  // namespace

Map& Map::operator=(Map&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  shape_ = other.shape_;
  data_ = other.data_;
  memory_ = std::exchange(other.memory_, nullptr);
  slot_ = other.slot_;
  return *this;
}

void Map::give_back() {
  if (memory_ != nullptr) memory_->slots_[slot_].taken = false;
}

double* Map::row_sums() const { return reinterpret_cast<double*>(data_ + padded_size(shape_)); }

Map MapMemory::take(const kernels::MapShape& shape) {
  const size_t bytes = bytes_of(shape);
  // The smallest free piece that suffices, else the largest, which is replaced.
  Slot* best = nullptr;
  for (Slot& slot : slots_) {
    if (slot.taken) continue;
    const bool suffices = slot.bytes >= bytes;
    const bool best_suffices = best != nullptr && best->bytes >= bytes;
    if (best == nullptr || (suffices && !best_suffices) ||
        (suffices == best_suffices &&
         (suffices ? slot.bytes < best->bytes : slot.bytes > best->bytes))) {
      best = &slot;
    }
  }
  if (best == nullptr) best = &slots_.emplace_back();
  if (best->bytes < bytes) {
    best->bytes = 0;  // the old goes before the new is asked for, which may fail
    best->arena.reset();
    best->arena = std::make_unique<base::Arena>(bytes);
    best->data = best->arena->take(bytes);
    best->bytes = bytes;
  }
  best->taken = true;
  return {
      shape, reinterpret_cast<float*>(best->data), this, static_cast<size_t>(best - slots_.data())};
}

}  // namespace ditmoe::networks
