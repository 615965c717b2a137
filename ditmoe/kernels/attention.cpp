#include "ditmoe/kernels/attention.h"

#include <cstddef>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/error.h"
#include "ditmoe/kernels/attention_head.h"

namespace ditmoe::kernels {
namespace {

using base::BFloat16;

constexpr int64_t kAlignment = 64;

int64_t round_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// Floats of each piece of the workspace: multiples of a cache line.
struct Sizes {
  explicit Sizes(const AttentionShape& shape) {
    const int64_t tokens = round_up(shape.tokens, kMaxTileKeys);
    const int64_t dim = round_up(shape.head_dim, kMaxLanes);
    constexpr int64_t kQueries = kMaxVectors * kMaxLanes;
    // The last row of keys is written in whole registers.
    keys = round_up(tokens * shape.head_dim + kMaxLanes, kMaxLanes);
    values = dim * shape.tokens;
    queries = dim * kQueries;
    scores = tokens * kQueries;
    output = dim * kQueries;
    normed = round_up(shape.tokens * shape.head_dim, kMaxLanes);
  }

  int64_t keys, values, queries, scores, output;
  int64_t normed;  // q or k after qk-norm
};

void attend(const AttentionHead<float>& head, base::Isa isa) {
  if (isa >= base::Isa::kAvx512) {
    attend_avx512(head);
  } else {
    attend_avx2(head);
  }
}

void attend(const AttentionHead<BFloat16>& head, base::Isa isa) {
  if (isa >= base::Isa::kAvx512Bf16) {
    attend_avx512_bf16(head);
  } else if (isa >= base::Isa::kAvx512) {
    attend_avx512(head);
  } else {
    attend_avx2(head);
  }
}

}  // namespace

int64_t attention_workspace(const AttentionShape& shape, bool qk_norm) {
  const Sizes sizes(shape);
  const int64_t norm = qk_norm ? 2 * sizes.normed : 0;
  const int64_t align = kAlignment / static_cast<int64_t>(sizeof(float));
  return align + sizes.keys + sizes.values + sizes.queries + sizes.scores + sizes.output + norm;
}

template <typename T>
void attention(const T* qkv,
               const AttentionShape& shape,
               int64_t head,
               const QkNorm* norm,
               std::span<float> workspace,
               T* dst,
               base::Isa isa) {
  DITMOE_ASSERT(static_cast<int64_t>(workspace.size()) >=
                attention_workspace(shape, norm != nullptr));
  const Sizes sizes(shape);
  const int64_t width = shape.width();
  AttentionHead<T> job;
  job.q = qkv + head * shape.head_dim;
  job.k = job.q + width;
  job.v = job.k + width;
  job.qk_stride = 3 * width;
  job.v_stride = 3 * width;
  job.tokens = shape.tokens;
  job.dim = shape.head_dim;
  job.dst = dst + head * shape.head_dim;
  job.dst_stride = width;
  const auto address = reinterpret_cast<uintptr_t>(workspace.data());
  job.keys = workspace.data() + (-address % kAlignment) / sizeof(float);
  job.values = job.keys + sizes.keys;
  job.queries = job.values + sizes.values;
  job.scores = job.queries + sizes.queries;
  job.output = job.scores + sizes.scores;
  if (norm != nullptr) {
    float* normed = job.output + sizes.output;
    job.norm = norm;
    job.normed_q = reinterpret_cast<T*>(normed);
    job.normed_k = reinterpret_cast<T*>(normed + sizes.normed);
  }
  attend(job, isa);
}

template void attention<float>(const float*,
                               const AttentionShape&,
                               int64_t,
                               const QkNorm*,
                               std::span<float>,
                               float*,
                               base::Isa);
template void attention<BFloat16>(const BFloat16*,
                                  const AttentionShape&,
                                  int64_t,
                                  const QkNorm*,
                                  std::span<float>,
                                  BFloat16*,
                                  base::Isa);

}  // namespace ditmoe::kernels
