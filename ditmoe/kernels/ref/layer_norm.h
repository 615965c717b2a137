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

// dst[r, i] = norm(src[r])[i] · weight[i] + bias[i], where norm subtracts the row's mean and
// divides by sqrt(variance + eps), the variance being the mean square, for rows that lie src_stride
// and dst_stride elements apart, as the heads inside qkv do.
void layer_norm_affine(const float* src,
                       int64_t src_stride,
                       const float* weight,
                       const float* bias,
                       int64_t rows,
                       int64_t width,
                       float* dst,
                       int64_t dst_stride);

}  // namespace ditmoe::kernels::ref
