#include "ditmoe/diffusion/sampler.h"

#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/diffusion/samplers.h"

namespace ditmoe::diffusion {
namespace {

struct Registration {
  SamplerInfo info;
  std::unique_ptr<Sampler> (*make)(int64_t steps);
};

// Every sampler there is: a new one is a file and a line here.
const std::vector<Registration>& registrations() {
  static const std::vector<Registration> table = {
      {{"ddpm", false, 250, "ancestral sampling"}, make_ddpm_sampler},
      {{"ddim", false, 50, "deterministic (eta 0)"}, make_ddim_sampler},
      {{"dpm++", false, 20, "DPM-Solver++(2M), deterministic, second order"}, make_dpm_solver},
      {{"euler", true, 50, "Euler's method, first order"}, make_euler_sampler},
      {{"heun", true, 25, "Heun's method, second order, two predictions a step"},
       make_heun_sampler},
      {{"ab2", true, 50, "two-step Adams-Bashforth, second order"}, make_ab2_sampler},
  };
  return table;
}

}  // namespace

void check_interval(const Guidance::Interval& interval) {
  // Written so that a NaN fails.
  if (0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0) return;
  base::bad_input("guidance interval: expected LO,HI with 0 <= LO <= HI <= 1, found {},{}",
                  interval.low,
                  interval.high);
}

NoiseSource philox_noise(uint64_t seed, int64_t first_image) {
  return [=](int64_t image, int64_t step, std::span<float> out) {
    base::fill_normal(out,
                      {.seed = seed,
                       .index = static_cast<uint64_t>(first_image + image),
                       .stream = static_cast<uint32_t>(step + 1)});
  };
}

std::unique_ptr<Sampler> make_sampler(const std::string& name, int64_t steps) {
  std::vector<std::string_view> known;
  for (const Registration& entry : registrations()) {
    if (entry.info.name == name) return entry.make(steps);
    known.push_back(entry.info.name);
  }
  base::bad_input("sampler: expected one of {}, found '{}'", fmt::join(known, ", "), name);
}

const std::vector<SamplerInfo>& known_samplers() {
  static const std::vector<SamplerInfo> samplers = [] {
    std::vector<SamplerInfo> infos;
    for (const Registration& entry : registrations()) infos.push_back(entry.info);
    return infos;
  }();
  return samplers;
}

}  // namespace ditmoe::diffusion
