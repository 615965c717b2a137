#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// Width of the sinusoidal embedding of time that feeds the timestep MLP.
constexpr int64_t kTimestepWidth = 256;

// dst[n, i] = cos(t_n f_i), dst[n, 128 + i] = sin(t_n f_i) with f_i = 10000^(-i/128), i in [0,
// 128).
//   t [count] in the model's own unit (steps or a fraction), dst [count, 256]
void timestep_embedding(const float* t, int64_t count, float* dst);

}  // namespace ditmoe::kernels
