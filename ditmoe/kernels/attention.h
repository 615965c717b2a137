#pragma once

#include <cstdint>
#include <span>

#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels {

// Self-attention within one image: width = heads · head_dim.
struct AttentionShape {
  int64_t tokens = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;

  int64_t width() const { return heads * head_dim; }
};

// Affine LayerNorm (eps 1e-6) over each head of the queries and keys; vectors of head_dim.
struct QkNorm {
  const float* q_weight = nullptr;
  const float* q_bias = nullptr;
  const float* k_weight = nullptr;
  const float* k_bias = nullptr;
};

// Floats that attention() needs to work in, one piece per thread.
int64_t attention_workspace(const AttentionShape& shape, bool qk_norm);

// dst[:, head] = softmax(q k^T / sqrt(head_dim)) v for one head of one image, q and k normalised
// first where norm is given.
//   qkv [tokens, 3, heads, head_dim], dst [tokens, heads, head_dim]; they do not alias
void attention(const float* qkv,
               const AttentionShape& shape,
               int64_t head,
               const QkNorm* norm,
               std::span<float> workspace,
               float* dst);

void attention(const base::BFloat16* qkv,
               const AttentionShape& shape,
               int64_t head,
               const QkNorm* norm,
               std::span<float> workspace,
               base::BFloat16* dst);

}  // namespace ditmoe::kernels
