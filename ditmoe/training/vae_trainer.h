#pragma once

#include <string>

#include "ditmoe/training/vae_recipe.h"

namespace ditmoe::training {

// Where and how a recipe is run.
struct VaeTrainOptions {
  std::string out;      // run folder
  bool resume = false;  // continue the run in `out` (or start it, where it has no checkpoint yet)
  int threads = 0;      // that compute; 0 is one per CPU this process may run on
};

// Runs a recipe to its last step, or until SIGTERM or SIGINT, then checkpoints. Writes into `out`:
//   checkpoints/step-N/   see vae_files.h
//   log.jsonl, log.csv    every log_every steps, means since the last line; with each checkpoint
//                         also how held-out images come back and what latents are like
//   samples/step-N.png    held-out images and what the averaged weights make of them
//   model.safetensors     the averaged weights, at the last step, as networks::open_vae reads them
// A resumed run is bit-identical to an undisturbed one, whatever the number of threads.
// Throws bad_input for a folder that is in use or holds a run and resume is off; failure for a loss
// or gradient that is not finite, before it reaches the weights.
void train_vae(const VaeRecipe& recipe, const VaeTrainOptions& options);

}  // namespace ditmoe::training
