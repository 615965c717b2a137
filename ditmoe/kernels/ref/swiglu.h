#pragma once

#include <cstdint>

#include "ditmoe/kernels/row_kernels.h"

namespace ditmoe::kernels::ref {

// Scalar definition of RowKernels::swiglu_f32; the same contract. That of swiglu_bf16 is the same
// rounded.
void swiglu(const float* src, int64_t rows, int64_t width, float* dst, int64_t dst_stride);

// Scalar definition of RowKernels::swiglu_int8 before it rounds; the same contract.
void swiglu_int8(const int32_t* src,
                 int64_t rows,
                 int64_t width,
                 const float* row_scale,
                 const QuantizedColumns& columns,
                 float* dst,
                 int64_t dst_stride);

}  // namespace ditmoe::kernels::ref
