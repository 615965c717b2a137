#pragma once

#include <cstdint>

#include "ditmoe/data/dataset.h"
#include "ditmoe/data/sample_order.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// The batches of a run: images in the order of the seed, labels dropped, times and noise drawn, all
// from Philox streams keyed by the sample's number in the run. Micro-batches of an update are
// consecutive parts of it, whatever their number.
class Batches {
 public:
  // dataset and objective must outlive this.
  Batches(const Recipe& recipe, const data::Dataset& dataset, const TrainingObjective& objective);

  // Samples [first, first + count) of the run.
  TrainingBatch at(int64_t first, int64_t count);

 private:
  const Recipe& recipe_;
  const data::Dataset& dataset_;
  const TrainingObjective& objective_;
  data::SampleOrder order_;
};

}  // namespace ditmoe::training
