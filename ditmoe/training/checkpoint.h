#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ditmoe/base/json.h"
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
  int64_t skipped_samples = 0;  // of the data, left out behind faults
  std::vector<double> losses;   // the last ones, see LossWindow

  // Where the run's next sample stands in the data.
  int64_t position(int64_t batch_size) const { return steps_done * batch_size + skipped_samples; }
};

// Bytes of a checkpoint of so many parameters.
int64_t checkpoint_bytes(const TrainState& state);

// Writes into `folder`: model.safetensors and ema.safetensors (both loadable as models),
// optimizer.safetensors, state.json.
void save_state(const std::string& folder,
                const Recipe& recipe,
                const std::vector<std::string>& class_names,
                const TrainState& state);

// Restores what save_state wrote. Throws bad_input where it was made with another architecture,
// seed, batch size or data: the numbers of a run are keyed by those.
void restore_state(const std::string& folder, const Recipe& recipe, TrainState& state);

// The EMA weights as a model file with class names and sampling defaults.
void export_model(const std::string& path,
                  const Recipe& recipe,
                  const std::vector<std::string>& class_names,
                  const TrainState& state);

}  // namespace ditmoe::training
