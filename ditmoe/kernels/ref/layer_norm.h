#pragma once

#include <cstdint>

namespace ditmoe::kernels::ref {

// Scalar definition of RowKernels::layer_norm_modulate for each of the rows of src and dst
// [rows, width]. dst may be src.
void layer_norm_modulate(const float* src,
                         const float* shift,
                         const float* scale,
                         int64_t rows,
                         int64_t width,
                         float* dst);

// Scalar definition of kernels::layer_norm_affine; the same contract.
void layer_norm_affine(const float* src,
                       int64_t src_stride,
                       const float* weight,
                       const float* bias,
                       int64_t rows,
                       int64_t width,
                       float* dst,
                       int64_t dst_stride);

}  // namespace ditmoe::kernels::ref
