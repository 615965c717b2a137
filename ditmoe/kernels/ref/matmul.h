#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// y = x W^T + b: what kernels::Matmul computes, from unpacked weights; with one row and no bias,
// RowKernels::router_logits.
//   x [rows, inputs], weight [outputs, inputs], bias [outputs] or nullptr, y [rows, outputs]
void matmul(const float* x,
            int64_t rows,
            const float* weight,
            const float* bias,
            int64_t outputs,
            int64_t inputs,
            float* y);

}  // namespace ditmoe::kernels::ref
