#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// Added to the variance by every LayerNorm of these networks.
constexpr float kLayerNormEps = 1e-6f;

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

}  // namespace ditmoe::kernels
