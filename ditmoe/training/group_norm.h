#pragma once

#include <cstdint>

#include <torch/types.h>

namespace ditmoe::training {

// Of maps [B, C, H, W], float or bfloat16, on the calling thread; memory is channels-last.
// Differentiable in all tensors. Faster than ATen's, which has none for channels-last in bfloat16.
// GroupNorm (Wu and He, arXiv 1803.08494) with eps 1e-6 and, where asked for, silu of it:
//   z = (x - mean) / sqrt(variance + eps) · weight + bias,  y = z · sigmoid(z)  or  y = z
// mean and variance over the pixels and channels of a group of one image. Sums are f32 or wider, y
// has the type of x.
//   weight, bias [C] f32; groups divides C
at::Tensor group_norm(const at::Tensor& x,
                      const at::Tensor& weight,
                      const at::Tensor& bias,
                      int64_t groups,
                      bool silu);

}  // namespace ditmoe::training
