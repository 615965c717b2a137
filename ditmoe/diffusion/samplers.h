#pragma once

#include <cstdint>
#include <memory>

#include "ditmoe/diffusion/sampler.h"

// What make_sampler chooses from. All throw bad_input for steps out of range.
namespace ditmoe::diffusion {

// Ancestral sampling (Ho et al. 2020) over `steps` respaced of 1000. Networks that predict their
// variance interpolate its logarithm between both bounds (Nichol & Dhariwal 2021).
std::unique_ptr<Sampler> make_ddpm_sampler(int64_t steps);

// The deterministic limit (eta 0) of DDIM (Song et al. 2021) over `steps` of 1000 at whole strides.
std::unique_ptr<Sampler> make_ddim_sampler(int64_t steps);

// Euler's method along the velocity of a rectified flow (Liu et al. 2023) in `steps` equal steps.
std::unique_ptr<Sampler> make_euler_sampler(int64_t steps);

}  // namespace ditmoe::diffusion
