#pragma once

#include <cstdint>

#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/attention_gradient.h"

namespace ditmoe::kernels::ref {

// Scalar definitions of the loops of GradientKernels, in f64 inside; the same contracts. factor is
// 1 + scale or weight, dfactor what is added to either's gradient.
void layer_norm_backward(const float* x,
                         const float* factor,
                         const float* dy,
                         int64_t width,
                         float* dx,
                         float* dfactor,
                         float* dshift);

float swiglu_backward(const float* gate_up,
                      const float* dhidden,
                      float weight,
                      int64_t width,
                      float* dgate_up,
                      float* weighted);

void softmax_backward(
    const float* scores, const float* dp, float scale, int64_t size, float* p, float* ds);

// Scalar definition of kernels::attention_gradient<float>.
void attention_gradient(const float* qkv,
                        const float* dout,
                        const AttentionShape& shape,
                        int64_t head,
                        const QkNorm* norm,
                        const QkNormGradient* dnorm,
                        float* dqkv);

}  // namespace ditmoe::kernels::ref
