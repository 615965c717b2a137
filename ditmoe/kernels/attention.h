#pragma once

#include <cstdint>
#include <span>

#include "ditmoe/base/cpu.h"

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

// Floats that attention() needs to work in, one piece per thread; enough for either element type
// and any instruction set. Scores take 48 rows at most, the rest is one head's queries, keys and
// values.
int64_t attention_workspace(const AttentionShape& shape, bool qk_norm);

// dst[:, head] = softmax(q k^T / sqrt(head_dim)) v for one head of one image, q and k normalised
// first where norm is given.
//   qkv [tokens, 3, heads, head_dim], dst [tokens, heads, head_dim], float or base::BFloat16; they
//   do not alias
// The softmax and all sums are f32. With BFloat16, normalised q and k are rounded to it; so are the
// probabilities where isa has products of bfloat16, while the levels below compute in f32.
// A NaN in a query stays in its row. isa is what the CPU has, or less.
template <typename T>
void attention(const T* qkv,
               const AttentionShape& shape,
               int64_t head,
               const QkNorm* norm,
               std::span<float> workspace,
               T* dst,
               base::Isa isa = base::chosen_isa());

}  // namespace ditmoe::kernels
