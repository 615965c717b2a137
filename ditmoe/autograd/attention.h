#pragma once

#include <torch/types.h>

#include "ditmoe/autograd/engine.h"

namespace ditmoe::autograd {

// Affine LayerNorm (eps 1e-6) of each head's queries and keys: leaves of [head_dim], or undefined.
struct QkNormWeights {
  at::Tensor q_weight, q_bias, k_weight, k_bias;

  bool defined() const { return q_weight.defined(); }
};

// Self-attention within each image: out[:, head] = softmax(q kᵀ / √head_dim) v, [N, D], of the type
// of qkv_N3D [N, 3·D], whose rows are q, k and v of all heads in turn; N = images · tokens. The
// softmax and all sums are f32. Backward computes the probabilities again; only qkv is kept.
at::Tensor attention(const Engine& engine,
                     const at::Tensor& qkv_N3D,
                     int64_t tokens,
                     int64_t heads,
                     const QkNormWeights& norm);

}  // namespace ditmoe::autograd
