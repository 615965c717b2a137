#include "ditmoe/pipeline/precision_report.h"

#include <cmath>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/diffusion/schedule.h"

namespace ditmoe::pipeline {
namespace {

// How much of the image and how much of the noise x_t holds, and what time the network is told.
struct Mixture {
  double image = 1;
  double noise = 0;
  double time = 0;
};

// Number i of count mixtures from nearly clean to nearly noise.
Mixture mixture(networks::Objective objective, int64_t i, int64_t count) {
  const double fraction = (static_cast<double>(i) + 0.5) / static_cast<double>(count);
  if (objective == networks::Objective::kRectifiedFlow) return {1 - fraction, fraction, fraction};
  const diffusion::DdpmSchedule schedule = diffusion::linear_schedule();
  const auto step = static_cast<size_t>(fraction * static_cast<double>(schedule.steps()));
  return {schedule.sqrt_alphas_cumprod[step],
          schedule.sqrt_one_minus_alphas_cumprod[step],
          static_cast<double>(step)};
}

// Sums that a report is made of.
struct Sums {
  double error = 0;
  double power = 0;
  int64_t same = 0;
  int64_t choices = 0;

  Sums& operator+=(const Sums& other) {
    error += other.error;
    power += other.power;
    same += other.same;
    choices += other.choices;
    return *this;
  }

  double nmse() const { return power == 0 ? 0.0 : error / power; }

  double same_routing() const {
    return choices > 0 ? static_cast<double>(same) / static_cast<double>(choices) : 1.0;
  }
};

// Of one token's choices (sorted by expert), how many are in both.
int64_t common_choices(const int32_t* left, const int32_t* right, int64_t top_k) {
  int64_t common = 0;
  for (int64_t i = 0, j = 0; i < top_k && j < top_k;) {
    if (left[i] == right[j]) ++common;
    const bool advance_left = left[i] <= right[j];
    const bool advance_right = right[j] <= left[i];
    i += advance_left ? 1 : 0;
    j += advance_right ? 1 : 0;
  }
  return common;
}

void add_routing(const networks::RoutingTrace& exact,
                 const networks::RoutingTrace& rounded,
                 Sums& sums) {
  DITMOE_ASSERT(exact.index.size() == rounded.index.size());
  const auto choices = static_cast<int64_t>(exact.index.size());
  for (int64_t i = 0; i < choices; i += exact.top_k) {
    sums.same += common_choices(exact.index.data() + i, rounded.index.data() + i, exact.top_k);
  }
  sums.choices += choices;
}

}  // namespace

PrecisionReport compare_precisions(networks::DitExecutor& exact,
                                   networks::DitExecutor& rounded,
                                   networks::Objective objective,
                                   const base::Tensor& images_NCHW,
                                   std::span<const int32_t> labels,
                                   int64_t levels,
                                   uint64_t seed) {
  const auto images = images_NCHW.as<float>();
  const int64_t count = images_NCHW.dim(0);
  DITMOE_ASSERT(static_cast<int64_t>(labels.size()) == count);
  const auto outputs =
      static_cast<size_t>(images_NCHW.size() / images_NCHW.dim(1) * exact.output_channels());
  std::vector<float> x(images.size());
  std::vector<float> out(outputs);
  std::vector<float> out_rounded(outputs);
  networks::RoutingTrace trace;
  networks::RoutingTrace trace_rounded;
  PrecisionReport report;
  Sums all;
  for (int64_t i = 0; i < levels; ++i) {
    const Mixture mix = mixture(objective, i, levels);
    base::fill_normal(x, {.seed = seed, .index = static_cast<uint64_t>(i)});
    for (size_t k = 0; k < x.size(); ++k) {
      x[k] = static_cast<float>(mix.image * images[k] + mix.noise * x[k]);
    }
    const std::vector<float> t(static_cast<size_t>(count), static_cast<float>(mix.time));
    exact.predict_traced(x, t, labels, out, trace);
    rounded.predict_traced(x, t, labels, out_rounded, trace_rounded);
    Sums sums;
    for (size_t k = 0; k < outputs; ++k) {
      sums.error += std::pow(static_cast<double>(out_rounded[k]) - out[k], 2);
      sums.power += std::pow(static_cast<double>(out[k]), 2);
    }
    if (!std::isfinite(sums.power)) {
      base::failure("the network's output in f32 at time {:.4g} is not finite", mix.time);
    }
    add_routing(trace, trace_rounded, sums);
    report.levels.push_back({mix.time, sums.nmse(), sums.same_routing()});
    all += sums;
  }
  report.nmse = all.nmse();
  report.same_routing = all.same_routing();
  return report;
}

}  // namespace ditmoe::pipeline
