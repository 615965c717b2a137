#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::silu; the same contract.
void silu(const float* src, int64_t size, float* dst);

}  // namespace ditmoe::kernels::ref
