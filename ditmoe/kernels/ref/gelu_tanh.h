#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of RowKernels::gelu_f32; the same contract, and dst may be src.
void gelu_tanh(const float* src, int64_t size, float* dst);

}  // namespace ditmoe::kernels::ref
