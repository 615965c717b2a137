#include "ditmoe/training/vae_updater.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <torch/torch.h>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/kernels/one_thread.h"
#include "ditmoe/training/patch_critic.h"

namespace ditmoe::training {
namespace {

// Of base::RandomKey; index: the sample's number in the run.
constexpr uint32_t kLatentNoise = 0x10200;

// Elements of gradients that a thread adds at a time.
constexpr int64_t kPiece = 1 << 16;

int64_t num_parts(const VaeRecipe& recipe) {
  return (recipe.batch_size + recipe.part_size - 1) / recipe.part_size;
}

}  // namespace

TrainedNetwork::TrainedNetwork(std::vector<networks::TensorSpec> specs)
    : layout(std::move(specs)),
      values(at::zeros({layout.size()}, at::kFloat)),
      optimiser(make_adamw_state(values)) {}

VaeState::VaeState(const VaeRecipe& recipe) : network(networks::tensor_specs(recipe.model)) {
  initialise_vae(network.layout, network.values, recipe.seed);
  ema = network.values.clone();
  if (recipe.discriminator.weight == 0) return;
  critic = std::make_unique<TrainedNetwork>(
      critic_specs(recipe.model.image_channels, recipe.discriminator.width));
  initialise_critic(critic->layout, critic->values, recipe.seed);
}

// What a part of a batch is computed with, kept from step to step.
struct VaeUpdater::Part {
  Part(const VaeRecipe& recipe, const VaeState& state)
      : weights(state.network.layout, state.network.values, true),
        module(recipe.model, weights, computed_precision(recipe)) {
    if (!state.critic) return;
    critic.emplace(state.critic->layout, state.critic->values, true);
    fixed_critic.emplace(state.critic->layout, state.critic->values, false);
  }

  Leaves weights;
  VaeModule module;
  std::optional<Leaves> critic;
  std::optional<Leaves> fixed_critic;  // the same weights, as the autoencoder sees them
  VaeStep step;
};

VaeUpdater::VaeUpdater(const VaeRecipe& recipe, VaeState& state, base::ThreadPool& pool)
    : recipe_(recipe), state_(state), pool_(pool) {
  for (int64_t i = 0; i < num_parts(recipe); ++i) {
    parts_.push_back(std::make_unique<Part>(recipe, state));
  }
  gradients_ = at::zeros_like(state.network.values);
  if (state.critic) critic_gradients_ = at::zeros_like(state.critic->values);
}

VaeUpdater::~VaeUpdater() = default;

bool VaeUpdater::has_critic() const {
  return state_.critic && state_.steps_done >= recipe_.discriminator.start;
}

VaeStep VaeUpdater::update(const at::Tensor& images) {
  VaeStep step = compute(images);
  step.gradient_norm = add_gradients(false);
  const double critic_norm = has_critic() ? add_gradients(true) : 0.0;
  const bool is_finite = std::isfinite(step.loss) && std::isfinite(step.critic) &&
                         std::isfinite(step.gradient_norm) && std::isfinite(critic_norm);
  if (!is_finite) {
    base::failure(
        "step {}: the loss is {} and the norm of its gradient {}; the weights were left as they "
        "were, the last checkpoint is good",
        state_.steps_done + 1,
        step.loss,
        step.gradient_norm);
  }
  apply(step.gradient_norm, critic_norm);
  ++state_.steps_done;
  return step;
}

VaeStep VaeUpdater::compute(const at::Tensor& images) {
  DITMOE_ASSERT(images.size(0) == recipe_.batch_size);
  pool_.run(static_cast<int64_t>(parts_.size()), [&](int64_t i, int /*thread*/) {
    const kernels::OneThread one_thread;
    const int64_t first = i * recipe_.part_size;
    const int64_t count = std::min(recipe_.part_size, recipe_.batch_size - first);
    const double share = static_cast<double>(count) / static_cast<double>(recipe_.batch_size);
    compute_part(images.narrow(0, first, count),
                 state_.steps_done * recipe_.batch_size + first,
                 share,
                 *parts_[static_cast<size_t>(i)]);
  });
  VaeStep sum;
  for (const auto& part : parts_) {
    sum.loss += part->step.loss;
    sum.mse += part->step.mse;
    sum.l1 += part->step.l1;
    sum.kl += part->step.kl;
    sum.adversarial += part->step.adversarial;
    sum.critic += part->step.critic;
  }
  return sum;
}

// first: the number of the first image in the run; share: of the batch's images.
void VaeUpdater::compute_part(const at::Tensor& images,
                              int64_t first,
                              double share,
                              Part& part) const {
  part.weights.gradients().zero_();
  const Posterior posterior = part.module.encode(images);
  const at::Tensor noise = latent_noise(recipe_, first, images.size(0));
  const at::Tensor decoded = part.module.decode(posterior.sample(noise));
  const at::Tensor difference = decoded - images;
  const at::Tensor mse = difference.square().mean();
  const at::Tensor l1 = difference.abs().mean();
  const at::Tensor kl = posterior.divergence();
  at::Tensor loss = mse + recipe_.kl_weight * kl;
  if (recipe_.l1_weight > 0) loss = loss + recipe_.l1_weight * l1;
  part.step = {};
  if (has_critic()) {
    const at::Tensor adversarial = adversarial_loss(critic_scores(*part.fixed_critic, decoded));
    loss = loss + recipe_.discriminator.weight * adversarial;
    part.step.adversarial = share * adversarial.item<double>();
  }
  (loss * share).backward();
  part.step.loss = share * loss.item<double>();
  part.step.mse = share * mse.item<double>();
  part.step.l1 = share * l1.item<double>();
  part.step.kl = share * kl.item<double>();
  if (!has_critic()) return;
  part.critic->gradients().zero_();
  const at::Tensor critic = critic_loss(critic_scores(*part.critic, images),
                                        critic_scores(*part.critic, decoded.detach()));
  (critic * share).backward();
  part.step.critic = share * critic.item<double>();
}

// Adds the parts' gradients up and returns the norm of the sum.
double VaeUpdater::add_gradients(bool of_critic) {
  at::Tensor& sum = of_critic ? critic_gradients_ : gradients_;
  const int64_t size = sum.numel();
  pool_.run((size + kPiece - 1) / kPiece, [&](int64_t piece, int /*thread*/) {
    const int64_t begin = piece * kPiece;
    const int64_t count = std::min(kPiece, size - begin);
    float* out = sum.data_ptr<float>() + begin;
    std::fill_n(out, count, 0.0F);
    for (const auto& part : parts_) {
      const Leaves& leaves = of_critic ? *part->critic : part->weights;
      const float* own = leaves.gradients().data_ptr<float>() + begin;
      for (int64_t i = 0; i < count; ++i) out[i] += own[i];
    }
  });
  return gradient_norm(sum);
}

void VaeUpdater::apply(double norm, double critic_norm) {
  const double rate = recipe_.rate.at(state_.steps_done, recipe_.steps);
  const auto scale = [&](double of) {
    return recipe_.clip_norm > 0 && of > recipe_.clip_norm ? recipe_.clip_norm / of : 1.0;
  };
  TrainedNetwork& network = state_.network;
  adamw_step(recipe_.adamw,
             rate,
             scale(norm),
             recipe_.ema_decay_at(state_.steps_done),
             gradients_,
             network.optimiser,
             network.values,
             state_.ema);
  if (!has_critic()) return;
  const double lr = recipe_.discriminator.lr;
  at::Tensor unused_average = at::zeros_like(critic_gradients_);
  adamw_step(recipe_.adamw,
             lr > 0 && recipe_.rate.peak > 0 ? rate * lr / recipe_.rate.peak : rate,
             scale(critic_norm),
             0.0,
             critic_gradients_,
             state_.critic->optimiser,
             state_.critic->values,
             unused_average);
}

kernels::Precision computed_precision(const VaeRecipe& recipe) {
  const bool has_bf16 = base::chosen_isa() >= base::Isa::kAvx512Bf16;
  return has_bf16 ? recipe.precision : kernels::Precision::kF32;
}

at::Tensor latent_noise(const VaeRecipe& recipe, int64_t first, int64_t count) {
  const int64_t side = recipe.image_size / recipe.model.factor();
  at::Tensor noise = at::empty({count, recipe.model.latent_channels, side, side}, at::kFloat);
  const int64_t size = noise.numel() / count;
  for (int64_t i = 0; i < count; ++i) {
    base::fill_normal({noise.data_ptr<float>() + i * size, static_cast<size_t>(size)},
                      {recipe.seed, static_cast<uint64_t>(first + i), kLatentNoise});
  }
  return noise;
}

}  // namespace ditmoe::training
