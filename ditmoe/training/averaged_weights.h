#pragma once

#include "ditmoe/training/checkpoint.h"

namespace ditmoe::training {

// While one lives, the weights of the state are their average, and the average the weights: swapped
// where they are, without memory for a copy.
class AveragedWeights {
 public:
  explicit AveragedWeights(TrainState& state) : state_(state) { swap(); }

  ~AveragedWeights() { swap(); }

  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  void swap();

  TrainState& state_;
};

}  // namespace ditmoe::training
