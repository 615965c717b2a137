#include "ditmoe/training/objective.h"

#include <cmath>
#include <numbers>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/training/time_prior.h"

namespace ditmoe::training {
namespace {

at::Tensor mean_per_image(const at::Tensor& values) { return values.flatten(1).mean(1); }

// KL(N(mean1, exp(log_var1)) || N(mean2, exp(log_var2))) in nats, element by element.
at::Tensor normal_kl(const at::Tensor& mean1,
                     const at::Tensor& log_var1,
                     const at::Tensor& mean2,
                     const at::Tensor& log_var2) {
  return 0.5 * (log_var2 - log_var1 - 1.0 + at::exp(log_var1 - log_var2) +
                (mean1 - mean2).square() * at::exp(-log_var2));
}

// The tanh approximation of the standard normal distribution function, as the reference uses.
at::Tensor approximate_normal_cdf(const at::Tensor& x) {
  const double scale = std::sqrt(2.0 / std::numbers::pi);
  return 0.5 * (1.0 + at::tanh(scale * (x + 0.044715 * x.pow(3))));
}

// log P(x) of images in [-1, 1] quantised to 256 levels under N(mean, exp(2·log_scale)).
at::Tensor discretised_log_likelihood(const at::Tensor& x,
                                      const at::Tensor& mean,
                                      const at::Tensor& log_scale) {
  constexpr double kFloor = 1e-12;
  const at::Tensor centred = x - mean;
  const at::Tensor inverse_scale = at::exp(-log_scale);
  const at::Tensor cdf_above = approximate_normal_cdf(inverse_scale * (centred + 1.0 / 255.0));
  const at::Tensor cdf_below = approximate_normal_cdf(inverse_scale * (centred - 1.0 / 255.0));
  const at::Tensor log_above = at::log(cdf_above.clamp_min(kFloor));
  const at::Tensor log_one_minus_below = at::log((1.0 - cdf_below).clamp_min(kFloor));
  const at::Tensor log_between = at::log((cdf_above - cdf_below).clamp_min(kFloor));
  return at::where(x < -0.999, log_above, at::where(x > 0.999, log_one_minus_below, log_between));
}

}  // namespace

at::Tensor Losses::total() const {
  at::Tensor sum = per_image_B.mean();
  for (const at::Tensor& balance : network.balance_losses) sum = sum + balance;
  if (network.prior_loss.defined()) sum = sum + network.prior_loss;
  return sum;
}

DdpmObjective::DdpmObjective(diffusion::DdpmSchedule schedule) : schedule_(std::move(schedule)) {}

at::Tensor DdpmObjective::draw_times(const at::Tensor& uniform_B, const at::Tensor&) const {
  const auto steps = static_cast<double>(schedule_.steps());
  return (uniform_B * steps).floor().clamp_max(steps - 1.0);
}

// values[t] as [B, 1, 1, 1] f32.
at::Tensor DdpmObjective::table(const std::vector<double>& values, const at::Tensor& t) const {
  const at::Tensor row = at::tensor(values, at::kDouble);
  return row.index_select(0, t.to(at::kLong)).to(at::kFloat).view({-1, 1, 1, 1});
}

Losses DdpmObjective::losses(const DitModule& module, const TrainingBatch& batch) const {
  const at::Tensor x_t = table(schedule_.sqrt_alphas_cumprod, batch.t) * batch.x_start +
                         table(schedule_.sqrt_one_minus_alphas_cumprod, batch.t) * batch.noise;
  Losses losses;
  losses.network = module.forward(x_t, batch.t, batch.y);
  if (module.config().time_experts > 0) {
    losses.network.prior_loss = prior_loss(module, batch.t, losses.network.time_probabilities_BX);
  }
  const int64_t channels = batch.x_start.size(1);
  const at::Tensor epsilon = losses.network.out.narrow(1, 0, channels);
  losses.mse_B = mean_per_image((batch.noise - epsilon).square());
  losses.per_image_B = losses.mse_B;
  if (module.config().learn_sigma) {
    const at::Tensor fraction = (losses.network.out.narrow(1, channels, channels) + 1.0) / 2.0;
    losses.vb_B = variational_bound(batch, x_t, epsilon.detach(), fraction);
    losses.per_image_B = losses.mse_B + losses.vb_B;
  }
  return losses;
}

// In bits per dimension: KL to the true posterior, or the decoder's likelihood at t = 0.
at::Tensor DdpmObjective::variational_bound(const TrainingBatch& batch,
                                            const at::Tensor& x_t,
                                            const at::Tensor& epsilon,
                                            const at::Tensor& variance_fraction) const {
  const at::Tensor coef_x0 = table(schedule_.posterior_mean_coef_x0, batch.t);
  const at::Tensor coef_xt = table(schedule_.posterior_mean_coef_xt, batch.t);
  const at::Tensor true_mean = coef_x0 * batch.x_start + coef_xt * x_t;
  const at::Tensor true_log_variance = table(schedule_.posterior_log_variance_clipped, batch.t);
  const at::Tensor predicted_x0 = table(schedule_.sqrt_recip_alphas_cumprod, batch.t) * x_t -
                                  table(schedule_.sqrt_recipm1_alphas_cumprod, batch.t) * epsilon;
  const at::Tensor mean = coef_x0 * predicted_x0 + coef_xt * x_t;
  const at::Tensor log_beta = at::log(table(schedule_.betas, batch.t));
  const at::Tensor log_variance =
      variance_fraction * log_beta + (1.0 - variance_fraction) * true_log_variance;

  const at::Tensor kl = mean_per_image(normal_kl(true_mean, true_log_variance, mean, log_variance));
  const at::Tensor decoder =
      mean_per_image(-discretised_log_likelihood(batch.x_start, mean, 0.5 * log_variance));
  return at::where(batch.t == 0.0, decoder, kl) / std::numbers::ln2;
}

at::Tensor RectifiedFlowObjective::draw_times(const at::Tensor&, const at::Tensor& normal_B) const {
  return at::sigmoid(normal_B);
}

Losses RectifiedFlowObjective::losses(const DitModule& module, const TrainingBatch& batch) const {
  if (module.config().time_experts > 0) {
    base::bad_input(
        "a Switch-DiT is trained for objective ddpm, on whose steps its prior is, not rf");
  }
  const at::Tensor t = batch.t.view({-1, 1, 1, 1});
  const at::Tensor x_t = (1.0 - t) * batch.x_start + t * batch.noise;
  Losses losses;
  losses.network = module.forward(x_t, batch.t, batch.y);
  const at::Tensor velocity = losses.network.out.narrow(1, 0, batch.x_start.size(1));
  losses.mse_B = mean_per_image((batch.noise - batch.x_start - velocity).square());
  losses.per_image_B = losses.mse_B;
  return losses;
}

std::unique_ptr<TrainingObjective> make_objective(networks::Objective objective) {
  if (objective == networks::Objective::kRectifiedFlow) {
    return std::make_unique<RectifiedFlowObjective>();
  }
  return std::make_unique<DdpmObjective>(diffusion::linear_schedule());
}

}  // namespace ditmoe::training
