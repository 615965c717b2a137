#include "ditmoe/training/updater.h"

#include <limits>

#include <torch/torch.h>

#include "ditmoe/training/expert_watch.h"
#include "ditmoe/training/init_from.h"

namespace ditmoe::training {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ParameterSet first_weights(const Recipe& recipe, const std::vector<std::string>& class_names) {
  ParameterSet parameters(recipe.model);
  initialise(parameters, recipe.seed);
  if (!recipe.init_from.empty()) init_from(parameters, recipe, class_names);
  if (recipe.precision == Precision::kBf16) parameters.keep_half();
  return parameters;
}

// Adds what one micro-batch contributes.
void add(const Losses& losses, double share, StepResult& step) {
  step.loss += share * losses.total().item<double>();
  step.mse += share * losses.mse_B.mean().item<double>();
  if (losses.vb_B.defined()) step.vb += share * losses.vb_B.mean().item<double>();
  for (const at::Tensor& balance : losses.network.balance_losses) {
    step.balance += share * balance.item<double>();
  }
  if (const at::Tensor& prior = losses.network.prior_loss; prior.defined()) {
    step.balance += share * prior.item<double>();
  }
  if (losses.network.expert_counts_E.empty()) return;
  const at::Tensor counts_LE = at::stack(losses.network.expert_counts_E);
  step.counts_LE = step.counts_LE.defined() ? step.counts_LE + counts_LE : counts_LE;
}

}  // namespace

Updater::Updater(const Recipe& recipe, const std::vector<std::string>& class_names, Kernels kernels)
    : recipe_(recipe),
      state_{.parameters = first_weights(recipe, class_names)},
      module_(recipe.model,
              state_.parameters,
              {.kernels = kernels, .precision = recipe.precision, .recompute = recipe.recompute}),
      objective_(make_objective(recipe.model.objective)) {
  state_.ema = state_.parameters.values().clone();
  state_.optimiser = make_adamw_state(state_.parameters.values());
}

StepResult Updater::compute(std::vector<Batch>& batches, Injection& injection, int64_t step) {
  using Place = Injection::Place;
  StepResult result;
  at::Tensor& gradients = state_.parameters.gradients();
  gradients.zero_();
  if (injection.take(Place::kData, step)) batches.front().x_start.view({-1})[0] = kNan;
  const double factor = injection.take(Place::kLoss, step) ? kNan : 1.0;
  for (const Batch& batch : batches) {
    const double share =
        static_cast<double>(batch.y.size(0)) / static_cast<double>(recipe_.batch_size);
    const Losses losses = objective_->losses(module_, batch);
    (losses.total() * (share * factor)).backward();
    const torch::NoGradGuard no_grad;
    add(losses, share, result);
  }
  const torch::NoGradGuard no_grad;
  if (injection.take(Place::kGradient, step)) gradients[0] = kNan;
  if (injection.take(Place::kSpike, step)) result.loss += 1e6;
  result.loss *= factor;
  result.gradient_norm = gradient_norm(gradients);
  return result;
}

void Updater::apply(const StepResult& step) {
  const torch::NoGradGuard no_grad;
  const bool clip = recipe_.clip_norm > 0.0 && step.gradient_norm > recipe_.clip_norm;
  if (recipe_.model.router_bias) {
    balance_router_biases(
        recipe_.model, step.counts_LE, recipe_.router_bias_rate, state_.parameters);
  }
  adamw_step(recipe_.adamw,
             recipe_.rate.at(state_.steps_done, recipe_.steps),
             clip ? recipe_.clip_norm / step.gradient_norm : 1.0,
             recipe_.ema_decay_at(state_.steps_done),
             state_.parameters.gradients(),
             state_.optimiser,
             state_.parameters.values(),
             state_.ema,
             state_.parameters.half());
}

}  // namespace ditmoe::training
