#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/gemm.h"
#include "ditmoe/kernels/gradient_kernels.h"

namespace ditmoe::kernels {

// Gradients of the four vectors of QkNorm, to which attention_gradient adds.
struct QkNormGradient {
  float* q_weight = nullptr;
  float* q_bias = nullptr;
  float* k_weight = nullptr;
  float* k_bias = nullptr;
};

// Memory that attention_gradient works in, kept between calls; one for each thread.
struct AttentionGradientWorkspace {
  std::vector<float> floats;
  std::vector<base::BFloat16> halves;
};

// The backward pass of attention() for one head of one image: given dout, the gradient of its
// result, writes the head's part of dqkv. The probabilities are computed again, a block of queries
// at a time, so that nothing of tokens x tokens is kept or needed at once.
//   qkv and dqkv [tokens, 3, heads, head_dim], dout [tokens, heads, head_dim], float or BFloat16
//   norm and dnorm: both or neither
// With BFloat16, probabilities, their gradients and normalised q and k are rounded to it; sums are
// f32.
template <typename T>
void attention_gradient(const T* qkv,
                        const T* dout,
                        const AttentionShape& shape,
                        int64_t head,
                        const QkNorm* norm,
                        const QkNormGradient* dnorm,
                        const GradientKernels& loops,
                        Gemm& gemm,
                        AttentionGradientWorkspace& workspace,
                        T* dqkv);

}  // namespace ditmoe::kernels
