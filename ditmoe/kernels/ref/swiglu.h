#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::swiglu; the same contract.
void swiglu(const float* src, int64_t rows, int64_t width, float* dst, int64_t dst_stride);

}  // namespace ditmoe::kernels::ref
