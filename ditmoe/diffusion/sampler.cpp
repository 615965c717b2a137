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
      {{"ddpm", false, "ancestral sampling, steps out of 1000"}, make_ddpm_sampler},
      {{"ddim", false, "deterministic (eta 0), steps out of 1000"}, make_ddim_sampler},
      {{"euler", true, "Euler steps along a rectified flow"}, make_euler_sampler},
  };
  return table;
}

}  // namespace

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
