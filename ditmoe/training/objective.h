#pragma once

#include <memory>
#include <vector>

#include <torch/types.h>

#include "ditmoe/diffusion/schedule.h"
#include "ditmoe/training/dit_module.h"

namespace ditmoe::training {

// One batch as an objective wants it. Times are the objective's own: steps for DDPM, a fraction of
// time for rectified flow.
struct TrainingBatch {
  at::Tensor x_start;  // [B, C, H, W] f32 clean images in [-1, 1]
  at::Tensor y;        // [B] i64 labels, the null label where dropped
  at::Tensor t;        // [B] f32
  at::Tensor noise;    // like x_start
};

// Per-image losses and the balance losses of the blocks; the loss trained on is
// mean(per_image) + Σ balance_losses + prior_loss, which DDPM has of a Switch-DiT.
struct Losses {
  at::Tensor per_image_B;
  at::Tensor mse_B;  // the two parts of per_image for DDPM with learned variance
  at::Tensor vb_B;   // in bits per dimension; undefined without learned variance
  DitOutput network;

  at::Tensor total() const;
};

// What the network is trained to predict.
class TrainingObjective {
 public:
  virtual ~TrainingObjective() = default;

  // The times of a batch from one standard uniform and one standard normal number per image.
  virtual at::Tensor draw_times(const at::Tensor& uniform_B, const at::Tensor& normal_B) const = 0;

  virtual Losses losses(const DitModule& module, const TrainingBatch& batch) const = 0;
};

// Noise prediction with learned variance (Nichol & Dhariwal 2021): MSE of the noise plus the
// variational bound of the variance with the mean held fixed. Time uniform over the steps.
class DdpmObjective final : public TrainingObjective {
 public:
  explicit DdpmObjective(diffusion::DdpmSchedule schedule);

  at::Tensor draw_times(const at::Tensor& uniform_B, const at::Tensor& normal_B) const override;
  Losses losses(const DitModule& module, const TrainingBatch& batch) const override;

 private:
  at::Tensor table(const std::vector<double>& values, const at::Tensor& t) const;
  at::Tensor variational_bound(const TrainingBatch& batch,
                               const at::Tensor& x_t,
                               const at::Tensor& epsilon,
                               const at::Tensor& variance_fraction) const;

  diffusion::DdpmSchedule schedule_;
};

// Rectified flow (Liu et al. 2022) with logit-normal time (Esser et al. 2024):
// x_t = (1 - t)·x + t·noise, target noise - x, t = sigmoid(normal), MSE over the first C channels.
class RectifiedFlowObjective final : public TrainingObjective {
 public:
  at::Tensor draw_times(const at::Tensor& uniform_B, const at::Tensor& normal_B) const override;
  Losses losses(const DitModule& module, const TrainingBatch& batch) const override;
};

std::unique_ptr<TrainingObjective> make_objective(networks::Objective objective);

}  // namespace ditmoe::training
