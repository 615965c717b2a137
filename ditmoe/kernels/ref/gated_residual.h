#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of RowKernels::gated_residual for each of the rows of src and x [rows, width].
void gated_residual(const float* src, const float* gate, int64_t rows, int64_t width, float* x);

}  // namespace ditmoe::kernels::ref
