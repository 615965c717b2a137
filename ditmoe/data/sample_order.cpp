#include "ditmoe/data/sample_order.h"

#include <numeric>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"

namespace ditmoe::data {
namespace {

// Philox stream of the shuffle; index = epoch · 2^32 + item.
constexpr uint32_t kShuffleStream = 0x20000;

}  // namespace

SampleOrder::SampleOrder(int64_t size, uint64_t seed) : size_(size), seed_(seed) {
  DITMOE_ASSERT(size > 0 && size < (int64_t{1} << 32));
}

int64_t SampleOrder::at(int64_t position) {
  const int64_t epoch = position / size_;
  if (epoch != epoch_) {
    epoch_ = epoch;
    permutation_.resize(static_cast<size_t>(size_));
    std::iota(permutation_.begin(), permutation_.end(), 0);
    for (int64_t i = size_ - 1; i > 0; --i) {  // Fisher-Yates
      const auto index = static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(i);
      const uint64_t other =
          base::random_below(static_cast<uint64_t>(i) + 1, {seed_, index, kShuffleStream});
      std::swap(permutation_[static_cast<size_t>(i)], permutation_[other]);
    }
  }
  return permutation_[static_cast<size_t>(position % size_)];
}

}  // namespace ditmoe::data
