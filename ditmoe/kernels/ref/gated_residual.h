#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::gated_residual; the same contract.
void gated_residual(const float* src, const float* gate, int64_t rows, int64_t width, float* x);

}  // namespace ditmoe::kernels::ref
