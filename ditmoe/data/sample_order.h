#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace ditmoe::data {

// The order in which a run sees a data set: each epoch is a permutation of it, drawn from the seed
// and the epoch's number alone. Position p of the run is item p mod size of epoch p / size, so any
// batch of any step can be had without the ones before it.
// Threads may ask at once. The permutations of two epochs are kept, 4 bytes an item each; another
// one costs about 50 ns an item, and who asks for those that are kept does not wait for it.
class SampleOrder {
 public:
  // 0 < size < 2^32, or it is a bug.
  SampleOrder(int64_t size, uint64_t seed);

  int64_t size() const { return size_; }

  // The data set's index at position p >= 0 of the run.
  int64_t at(int64_t position) const;

 private:
  struct Epoch {
    int64_t number = -1;
    std::vector<uint32_t> permutation;
  };

  std::optional<int64_t> find(int64_t epoch, int64_t item) const;
  Epoch shuffled(int64_t epoch) const;

  int64_t size_;
  uint64_t seed_;
  mutable std::mutex building_;          // held while a permutation is made
  mutable std::mutex mutex_;             // guards what follows
  mutable std::array<Epoch, 2> epochs_;  // the one asked for last comes first
};

}  // namespace ditmoe::data
