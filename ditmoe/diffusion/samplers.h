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

// DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095): second order, one prediction a step, without
// noise, over `steps` of 1000 from t = 999 to 0 that respace_for_solver chooses. The variance that
// a network predicts is ignored.
std::unique_ptr<Sampler> make_dpm_solver(int64_t steps);

// Euler's method along the velocity of a rectified flow (Liu et al. 2023) in `steps` equal steps.
std::unique_ptr<Sampler> make_euler_sampler(int64_t steps);

// Heun's method along the same flow: second order, two predictions a step and one in the last.
std::unique_ptr<Sampler> make_heun_sampler(int64_t steps);

// The two-step Adams-Bashforth method along the same flow: second order, one prediction a step.
std::unique_ptr<Sampler> make_ab2_sampler(int64_t steps);

}  // namespace ditmoe::diffusion
