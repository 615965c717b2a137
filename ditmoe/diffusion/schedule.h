#pragma once

#include <cstdint>
#include <vector>

namespace ditmoe::diffusion {

// Tables of a discrete-time Gaussian diffusion in f64 (Ho et al. 2020; Nichol & Dhariwal 2021),
// indexed by step 0..steps()-1:
//   q(x_t | x_0) = N(sqrt(ᾱ_t) x_0, (1 - ᾱ_t) I),  ᾱ_t = Π_{s≤t} (1 - β_s)
//   q(x_{t-1} | x_t, x_0) = N(coef_x0·x_0 + coef_xt·x_t, posterior_variance·I)
struct DdpmSchedule {
  std::vector<int64_t> timestep_map;  // step → the original step that the network is told
  std::vector<double> betas;
  std::vector<double> alphas_cumprod;
  std::vector<double> alphas_cumprod_prev;  // ᾱ_{t-1}, 1 at t = 0
  std::vector<double> sqrt_alphas_cumprod;
  std::vector<double> sqrt_one_minus_alphas_cumprod;
  std::vector<double> sqrt_recip_alphas_cumprod;
  std::vector<double> sqrt_recipm1_alphas_cumprod;
  std::vector<double> posterior_variance;
  std::vector<double> posterior_log_variance_clipped;  // entry 0 takes entry 1's value
  std::vector<double> posterior_mean_coef_x0;
  std::vector<double> posterior_mean_coef_xt;

  int64_t steps() const { return static_cast<int64_t>(betas.size()); }
};

// 1000 betas from 1e-4 to 2e-2, evenly spaced.
DdpmSchedule linear_schedule(int64_t steps = 1000);

// Keeps `steps` of the original steps, as evenly as whole numbers allow (first and last kept when
// steps > 1), and recomputes the betas so that ᾱ agrees at the kept ones.
// Throws bad_input where steps < 1 or more than the original has.
DdpmSchedule respace(const DdpmSchedule& original, int64_t steps);

// Keeps `steps` of the original steps from the first one on at a whole stride, as DDIM chooses them
// (Song et al. 2021): the smallest stride that gives so many; where none does,
// floor(i·original/steps). Throws as respace.
DdpmSchedule respace_strided(const DdpmSchedule& original, int64_t steps);

// Keeps `steps` of the original steps, first and last among them when steps > 1, at even places
//   (t / T + (λ_0 - λ_t) / (λ_0 - λ_T)) / 2,  λ_t = log(sqrt(ᾱ_t) / sqrt(1 - ᾱ_t)),  T the last,
// as whole steps allow: the nearest, moved where two would coincide. That is half even in time,
// half in the logarithm of the signal-to-noise ratio. One step is the last. Throws as respace.
DdpmSchedule respace_for_solver(const DdpmSchedule& original, int64_t steps);

// Where step `step` of the 1000 that networks are trained on stands on the way from image (0) to
// noise (1): step / 999.
double noise_level(int64_t step);

}  // namespace ditmoe::diffusion
