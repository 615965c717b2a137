#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/data/training_stream.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// Samples of a run, ready to train on, and where they came from.
struct Batch : TrainingBatch {
  std::vector<data::Sample> samples;
};

// Makes the batches of a run: labels dropped, times and noise drawn, all from Philox streams keyed
// by the sample's position, so that any positions can be had at any time, from any thread.
class Batches {
 public:
  // What it is given must outlive it.
  Batches(const Recipe& recipe,
          const data::TrainingStream& stream,
          const TrainingObjective& objective);

  // Positions [first, first + count) of the stream, into memory that a former batch may lend.
  void fill(int64_t first, int64_t count, Batch& batch) const;

 private:
  const Recipe& recipe_;
  const data::TrainingStream& stream_;
  const TrainingObjective& objective_;
};

// Opens the data of a recipe. Throws bad_input naming the key where they are not as it says.
data::TrainingStream open_data(const Recipe& recipe);

// The images that the loss is measured on beside training, of a recipe that has them.
data::TrainingStream open_held_out(const Recipe& recipe);

}  // namespace ditmoe::training
