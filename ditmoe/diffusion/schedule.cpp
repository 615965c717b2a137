#include "ditmoe/diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ditmoe/base/error.h"

namespace ditmoe::diffusion {
namespace {

// All tables that follow from the betas.
DdpmSchedule from_betas(std::vector<double> betas, std::vector<int64_t> timestep_map) {
  DdpmSchedule schedule;
  schedule.timestep_map = std::move(timestep_map);
  schedule.betas = std::move(betas);
  double cumprod = 1.0;
  for (const double beta : schedule.betas) {
    const double previous = cumprod;
    cumprod *= 1.0 - beta;
    const double variance = beta * (1.0 - previous) / (1.0 - cumprod);
    schedule.alphas_cumprod.push_back(cumprod);
    schedule.alphas_cumprod_prev.push_back(previous);
    schedule.sqrt_alphas_cumprod.push_back(std::sqrt(cumprod));
    schedule.sqrt_one_minus_alphas_cumprod.push_back(std::sqrt(1.0 - cumprod));
    schedule.sqrt_recip_alphas_cumprod.push_back(std::sqrt(1.0 / cumprod));
    schedule.sqrt_recipm1_alphas_cumprod.push_back(std::sqrt(1.0 / cumprod - 1.0));
    schedule.posterior_variance.push_back(variance);
    schedule.posterior_log_variance_clipped.push_back(std::log(variance));
    schedule.posterior_mean_coef_x0.push_back(beta * std::sqrt(previous) / (1.0 - cumprod));
    schedule.posterior_mean_coef_xt.push_back((1.0 - previous) * std::sqrt(1.0 - beta) /
                                              (1.0 - cumprod));
  }
  // The posterior of the first step is a point: its variance is 0 and has no logarithm. With one
  // step alone there is no other to take, and beta is the only variance there is.
  std::vector<double>& log_variance = schedule.posterior_log_variance_clipped;
  log_variance[0] = log_variance.size() > 1 ? log_variance[1] : std::log(schedule.betas[0]);
  return schedule;
}

void check_steps(const DdpmSchedule& original, int64_t steps) {
  if (steps < 1 || steps > original.steps()) {
    base::bad_input("steps: expected 1 to {}, found {}", original.steps(), steps);
  }
}

// The process that visits only the steps kept, in ascending order.
DdpmSchedule restrict_to(const DdpmSchedule& original, const std::vector<int64_t>& kept) {
  std::vector<double> betas;
  std::vector<int64_t> timestep_map;
  double previous = 1.0;
  for (const int64_t step : kept) {
    DITMOE_ASSERT(step >= 0 && step < original.steps());
    const double cumprod = original.alphas_cumprod[static_cast<size_t>(step)];
    betas.push_back(1.0 - cumprod / previous);
    timestep_map.push_back(original.timestep_map[static_cast<size_t>(step)]);
    previous = cumprod;
  }
  return from_betas(std::move(betas), std::move(timestep_map));
}

// Where every step lies between the first (0) and the last (1): the mean of its place in t and its
// place in λ.
std::vector<double> solver_places(const DdpmSchedule& schedule) {
  const auto lambda = [&](size_t step) {
    const double cumprod = schedule.alphas_cumprod[step];
    return 0.5 * std::log(cumprod / (1.0 - cumprod));
  };
  const auto last = static_cast<size_t>(schedule.steps() - 1);
  std::vector<double> places;
  for (size_t step = 0; step <= last; ++step) {
    const double in_t = static_cast<double>(step) / static_cast<double>(last);
    const double in_lambda = (lambda(0) - lambda(step)) / (lambda(0) - lambda(last));
    places.push_back(0.5 * in_t + 0.5 * in_lambda);
  }
  return places;
}

// Index of the value of a rising sequence nearest to `target`.
int64_t nearest_in_rising(const std::vector<double>& values, double target) {
  const auto above = std::ranges::lower_bound(values, target);
  if (above == values.begin()) return 0;
  const int64_t index = above - values.begin();
  if (above == values.end()) return index - 1;
  return target - *(above - 1) < *above - target ? index - 1 : index;
}

}  // namespace

DdpmSchedule linear_schedule(int64_t steps) {
  if (steps < 1) base::bad_input("noise schedule: expected one step or more, found {}", steps);
  constexpr double kFirst = 1e-4;
  constexpr double kLast = 2e-2;
  std::vector<double> betas;
  std::vector<int64_t> timestep_map;
  for (int64_t step = 0; step < steps; ++step) {
    const double fraction = steps > 1 ? static_cast<double>(step) / (steps - 1) : 0.0;
    betas.push_back(kFirst + (kLast - kFirst) * fraction);
    timestep_map.push_back(step);
  }
  return from_betas(std::move(betas), std::move(timestep_map));
}

DdpmSchedule respace(const DdpmSchedule& original, int64_t steps) {
  check_steps(original, steps);
  const double stride = steps > 1 ? static_cast<double>(original.steps() - 1) / (steps - 1) : 1.0;
  std::vector<int64_t> kept;
  double position = 0.0;
  for (int64_t step = 0; step < steps; ++step) {
    // Half to even, and the stride summed rather than multiplied: published samplers choose their
    // steps so (Nichol & Dhariwal 2021), and other steps would be other images.
    kept.push_back(static_cast<int64_t>(std::nearbyint(position)));
    position += stride;
  }
  return restrict_to(original, kept);
}

DdpmSchedule respace_strided(const DdpmSchedule& original, int64_t steps) {
  check_steps(original, steps);
  const int64_t stride = (original.steps() + steps - 1) / steps;
  const bool fits = (steps - 1) * stride < original.steps();
  std::vector<int64_t> kept;
  for (int64_t step = 0; step < steps; ++step) {
    kept.push_back(fits ? step * stride : step * original.steps() / steps);
  }
  return restrict_to(original, kept);
}

DdpmSchedule respace_for_solver(const DdpmSchedule& original, int64_t steps) {
  check_steps(original, steps);
  if (steps == 1) return restrict_to(original, {original.steps() - 1});
  const std::vector<double> places = solver_places(original);
  std::vector<int64_t> kept(static_cast<size_t>(steps));
  int64_t above = original.steps();
  for (int64_t i = steps - 1; i >= 0; --i) {
    const double place = static_cast<double>(i) / static_cast<double>(steps - 1);
    // Below the step chosen before, and with room for the i that follow.
    above = std::max(i, std::min(above - 1, nearest_in_rising(places, place)));
    kept[static_cast<size_t>(i)] = above;
  }
  return restrict_to(original, kept);
}

double noise_level(int64_t step) { return static_cast<double>(step) / 999.0; }

}  // namespace ditmoe::diffusion
