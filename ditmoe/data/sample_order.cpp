#include "ditmoe/data/sample_order.h"

#include <numeric>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/data/random_streams.h"

namespace ditmoe::data {

SampleOrder::SampleOrder(int64_t size, uint64_t seed) : size_(size), seed_(seed) {
  DITMOE_ASSERT(size > 0 && size < (int64_t{1} << 32));
}

int64_t SampleOrder::at(int64_t position) const {
  DITMOE_ASSERT(position >= 0);
  const int64_t epoch = position / size_;
  const int64_t item = position % size_;
  if (const auto found = find(epoch, item)) return *found;
  const std::lock_guard building(building_);
  if (const auto found = find(epoch, item)) return *found;  // another thread made it meanwhile
  Epoch made = shuffled(epoch);
  const int64_t index = made.permutation[static_cast<size_t>(item)];
  const std::lock_guard lock(mutex_);
  std::swap(epochs_[0], epochs_[1]);
  std::swap(epochs_[0], made);
  return index;
}

std::optional<int64_t> SampleOrder::find(int64_t epoch, int64_t item) const {
  const std::lock_guard lock(mutex_);
  if (epochs_[0].number != epoch) {
    if (epochs_[1].number != epoch) return std::nullopt;
    std::swap(epochs_[0], epochs_[1]);
  }
  return epochs_[0].permutation[static_cast<size_t>(item)];
}

SampleOrder::Epoch SampleOrder::shuffled(int64_t epoch) const {
  Epoch made{epoch, std::vector<uint32_t>(static_cast<size_t>(size_))};
  std::iota(made.permutation.begin(), made.permutation.end(), 0);
  for (int64_t i = size_ - 1; i > 0; --i) {  // Fisher-Yates
    const auto index = static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(i);
    const uint64_t other =
        base::random_below(static_cast<uint64_t>(i) + 1, {seed_, index, stream::kShuffle});
    std::swap(made.permutation[static_cast<size_t>(i)], made.permutation[other]);
  }
  return made;
}

}  // namespace ditmoe::data
