#pragma once

#include <string>

#include "ditmoe/autograd/engine.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// Where and how a recipe is run.
struct TrainOptions {
  std::string out;      // run folder
  bool resume = false;  // continue the run in `out` (or start it, where it has no checkpoint yet)
  autograd::Kernels kernels = autograd::Kernels::kNative;
  std::string inject;  // faults to make, see Injection
};

// Runs a recipe to its last step, or until SIGTERM or SIGINT, then checkpoints. Writes into `out`:
//   checkpoints/step-N/   see checkpoint.h        samples/step-N.png   EMA samples, fixed seeds
//   log.jsonl, log.csv    see run_log.h           experts/step-N.png   their loads
//   tensorboard/          see run_log.h           faults/step-N.json   see faults.h
//   model.safetensors     EMA, at the last step
// At a fixed thread count a resumed run is bit-identical to an undisturbed one.
// Throws bad_input for a folder that is in use or holds a run and resume is off; failure for a disk
// without room for the checkpoints, and for losses or gradients that are not finite, or leap, where
// recipe.faults does not help: they never reach the weights.
void train(const Recipe& recipe, const TrainOptions& options);

}  // namespace ditmoe::training
