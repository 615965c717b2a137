#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ditmoe/training/batches.h"
#include "ditmoe/training/checkpoint.h"
#include "ditmoe/training/dit_module.h"
#include "ditmoe/training/faults.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/recipe.h"

namespace ditmoe::training {

// One step before it changes the weights: means over its images.
struct StepResult {
  double loss = 0;  // what is trained on, balance losses included
  double mse = 0;
  double vb = 0;
  double balance = 0;
  double gradient_norm = 0;
  at::Tensor counts_LE;  // choices that fell on each expert, by MoE block; undefined without
};

// The state of a run and what moves it.
class Updater {
 public:
  // The weights of step 0: random ones, or those of recipe.init_from. class_names: of the data.
  Updater(const Recipe& recipe, const std::vector<std::string>& class_names, Kernels kernels);

  TrainState& state() { return state_; }

  const DitModule& module() const { return module_; }

  const TrainingObjective& objective() const { return *objective_; }

  // Losses of the micro-batches and their gradient, each counting by its share of the images;
  // weights stay as they are. injection: faults to make in step `step`.
  StepResult compute(std::vector<Batch>& batches, Injection& injection, int64_t step);

  // Clips the gradient of the last compute() and makes the update of state().steps_done, without
  // counting the step.
  void apply(const StepResult& step);

 private:
  const Recipe& recipe_;
  TrainState state_;
  DitModule module_;
  std::unique_ptr<TrainingObjective> objective_;
};

}  // namespace ditmoe::training
