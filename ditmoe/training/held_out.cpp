#include "ditmoe/training/held_out.h"

#include <algorithm>

#include <torch/torch.h>

#include "ditmoe/training/averaged_weights.h"
#include "ditmoe/training/batches.h"

namespace ditmoe::training {

double held_out_loss(const Recipe& recipe,
                     const data::TrainingStream& images,
                     const TrainingObjective& objective,
                     const DitModule& module,
                     TrainState& state) {
  const torch::NoGradGuard no_grad;
  const AveragedWeights averaged(state);
  Recipe conditional = recipe;
  conditional.label_dropout = 0;
  const Batches batches(conditional, images, objective);
  const int64_t most = std::max<int64_t>(1, recipe.batch_size / recipe.accumulation);
  double sum = 0;
  for (int64_t first = 0; first < recipe.held_out_images; first += most) {
    Batch batch;
    batches.fill(first, std::min(most, recipe.held_out_images - first), batch);
    sum += objective.losses(module, batch).per_image_B.to(at::kDouble).sum().item<double>();
  }
  return sum / static_cast<double>(recipe.held_out_images);
}

}  // namespace ditmoe::training
