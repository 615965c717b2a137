#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ditmoe/training/adamw.h"
#include "ditmoe/training/parameters.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// Everything that changes during a run. Random numbers are keyed by step and sample, so the number
// of steps done stands for all of their state.
struct TrainState {
  ParameterSet parameters;
  at::Tensor ema;
  AdamwState optimiser;
  int64_t steps_done = 0;
};

// Writes `<run>/checkpoints/step-00001000/`: model.safetensors, ema.safetensors (both loadable as
// models), optimizer.safetensors, state.json and manifest.json (size and CRC-32 of each file). The
// directory appears under its name whole or not at all; then all but the newest `keep` are removed.
void save_checkpoint(const std::string& run_folder,
                     const Recipe& recipe,
                     const std::vector<std::string>& class_names,
                     const TrainState& state);

// Restores the newest checkpoint whose manifest verifies. Newer ones that do not are renamed to
// damaged-step-N, with a warning. False where there was none at all. Throws bad_input where none
// verifies, and where it was made with another architecture, seed, batch size or data: the numbers
// of a run are keyed by those.
bool restore_newest_checkpoint(const std::string& run_folder,
                               const Recipe& recipe,
                               TrainState& state);

// Removes what a killed process left half-written. Only for the holder of the folder's lock.
void remove_leftovers(const std::string& run_folder);

// True where the folder holds at least one checkpoint, whole or not.
bool has_checkpoints(const std::string& run_folder);

// The EMA weights as a model file with class names and sampling defaults.
void export_model(const std::string& path,
                  const Recipe& recipe,
                  const std::vector<std::string>& class_names,
                  const TrainState& state);

}  // namespace ditmoe::training
