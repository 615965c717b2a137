#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::softmax; the same contract.
void softmax(float* row, int64_t size, float scale);

}  // namespace ditmoe::kernels::ref
