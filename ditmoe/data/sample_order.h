#pragma once

#include <cstdint>
#include <vector>

namespace ditmoe::data {

// The order in which a run sees a data set: each epoch is a permutation of it, drawn from the seed
// and the epoch's number alone. Position p of the run is item p mod size of epoch p / size, so any
// batch of any step can be had without the ones before it.
class SampleOrder {
 public:
  SampleOrder(int64_t size, uint64_t seed);

  // The data set's index at position p >= 0 of the run.
  int64_t at(int64_t position);

 private:
  int64_t size_;
  uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<int64_t> permutation_;
};

}  // namespace ditmoe::data
