#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <torch/types.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/training/adamw.h"
#include "ditmoe/training/flat_tensors.h"
#include "ditmoe/training/vae_module.h"
#include "ditmoe/training/vae_recipe.h"

namespace ditmoe::training {

// Weights of one network and what moves them; flat, see FlatLayout.
struct TrainedNetwork {
  explicit TrainedNetwork(std::vector<networks::TensorSpec> specs);

  FlatLayout layout;
  at::Tensor values;
  AdamwState optimiser;
};

// Everything that changes during a run. Random numbers are keyed by sample, so the number of steps
// done stands for all of their state.
struct VaeState {
  // The weights of step 0, drawn from the recipe's seed.
  explicit VaeState(const VaeRecipe& recipe);

  TrainedNetwork network;
  at::Tensor ema;
  std::unique_ptr<TrainedNetwork> critic;  // where the recipe has a discriminator
  int64_t steps_done = 0;
};

// One step: means over its images, at the weights before it.
struct VaeStep {
  double loss = 0;  // what is trained on
  double mse = 0;
  double l1 = 0;
  double kl = 0;
  double adversarial = 0;  // unweighted; 0 before the discriminator has started
  double critic = 0;       // the discriminator's own loss
  double gradient_norm = 0;
};

// Makes updates. A batch is computed in parts of recipe.part_size images, each by one thread from
// end to end, and the gradients of parts are added in order: no bit depends on the number of
// threads.
class VaeUpdater {
 public:
  // All must outlive the object.
  VaeUpdater(const VaeRecipe& recipe, VaeState& state, base::ThreadPool& pool);
  ~VaeUpdater();
  VaeUpdater(const VaeUpdater&) = delete;
  VaeUpdater& operator=(const VaeUpdater&) = delete;

  // One update from images f32 [B, C, H, W], B as the recipe says: of that step of the run, whose
  // samples the noise of latents belongs to. Throws failure for a loss or gradient that is not
  // finite, and leaves everything as it was.
  VaeStep update(const at::Tensor& images);

 private:
  struct Part;

  VaeStep compute(const at::Tensor& images);
  void compute_part(const at::Tensor& images, int64_t first, double share, Part& part) const;
  double add_gradients(bool of_critic);
  void apply(double norm, double critic_norm);
  bool has_critic() const;

  const VaeRecipe& recipe_;
  VaeState& state_;
  base::ThreadPool& pool_;
  std::vector<std::unique_ptr<Part>> parts_;
  at::Tensor gradients_;
  at::Tensor critic_gradients_;
};

// What the recipe asks for, or f32 where this CPU has no products of bfloat16.
kernels::Precision computed_precision(const VaeRecipe& recipe);

// Standard normal numbers for latents of `count` samples of a run from number `first` on, each a
// function of the seed and its number alone.
at::Tensor latent_noise(const VaeRecipe& recipe, int64_t first, int64_t count);

}  // namespace ditmoe::training
