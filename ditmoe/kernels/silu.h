#pragma once

#include <cstdint>

#include "ditmoe/kernels/exp.h"

namespace ditmoe::kernels {

// x / (1 + e^-x)
[[gnu::always_inline]] inline float silu(float x) { return x / (1.0f + exp_f32(-x)); }

// dst[i] = silu(src[i]) for i in [0, size). dst may be src.
void silu(const float* src, int64_t size, float* dst);

}  // namespace ditmoe::kernels
