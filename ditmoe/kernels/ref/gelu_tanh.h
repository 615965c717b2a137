#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::gelu_tanh; the same contract.
void gelu_tanh(const float* src, int64_t size, float* dst);

}  // namespace ditmoe::kernels::ref
