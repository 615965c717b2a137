#include "ditmoe/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/layer_norm.h"
#include "ditmoe/kernels/one_thread.h"
#include "ditmoe/kernels/softmax.h"

namespace ditmoe::kernels {
namespace {

// Queries per step: 128 x 1024 scores (a 512² image's) are 512 KB, half of a core's second-level
// cache.
constexpr int64_t kQueryRows = 128;

int64_t query_rows(const AttentionShape& shape) { return std::min(kQueryRows, shape.tokens); }

// c = a · b or a · b^T, row-major with leading dimensions, on this thread.
struct Product {
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  bool transpose_b;
  float* c;
  int64_t ldc;
};

void multiply(const Product& p) {
  const dnnl::status status = dnnl::sgemm('N',
                                          p.transpose_b ? 'T' : 'N',
                                          p.m,
                                          p.n,
                                          p.k,
                                          1.0f,
                                          p.a,
                                          p.lda,
                                          p.b,
                                          p.ldb,
                                          0.0f,
                                          p.c,
                                          p.ldc);
  DITMOE_ASSERT(status == dnnl::status::success);
}

}  // namespace

int64_t attention_workspace(const AttentionShape& shape, bool qk_norm) {
  const int64_t scores = query_rows(shape) * shape.tokens;
  return scores + (qk_norm ? 2 * shape.tokens * shape.head_dim : 0);
}

void attention(const float* qkv,
               const AttentionShape& shape,
               int64_t head,
               const QkNorm* norm,
               std::span<float> workspace,
               float* dst) {
  DITMOE_ASSERT(static_cast<int64_t>(workspace.size()) >=
                attention_workspace(shape, norm != nullptr));
  const OneThread one_thread;
  const int64_t tokens = shape.tokens;
  const int64_t dim = shape.head_dim;
  const int64_t width = shape.width();
  const float* q = qkv + head * dim;
  const float* k = q + width;
  const float* v = k + width;
  int64_t stride = 3 * width;
  float* scores = workspace.data();
  const int64_t v_stride = stride;
  if (norm != nullptr) {
    float* q_normed = scores + query_rows(shape) * tokens;
    float* k_normed = q_normed + tokens * dim;
    layer_norm_affine(q, stride, norm->q_weight, norm->q_bias, tokens, dim, q_normed, dim);
    layer_norm_affine(k, stride, norm->k_weight, norm->k_bias, tokens, dim, k_normed, dim);
    q = q_normed;
    k = k_normed;
    stride = dim;
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  for (int64_t first = 0; first < tokens; first += query_rows(shape)) {
    const int64_t rows = std::min(query_rows(shape), tokens - first);
    multiply({rows, tokens, dim, q + first * stride, stride, k, stride, true, scores, tokens});
    for (int64_t row = 0; row < rows; ++row) {
      softmax(scores + row * tokens, tokens, scale);
    }
    float* out = dst + first * width + head * dim;
    multiply({rows, dim, tokens, scores, tokens, v, v_stride, false, out, width});
  }
}

void attention(const base::BFloat16* qkv,
               const AttentionShape& shape,
               int64_t head,
               const QkNorm* norm,
               std::span<float> workspace,
               base::BFloat16* dst) {
  const int64_t d = shape.head_dim;
  const AttentionShape one{shape.tokens, 1, d};
  std::vector<float> src(static_cast<size_t>(shape.tokens * 3 * d));
  std::vector<float> out(static_cast<size_t>(shape.tokens * d));
  for (int64_t t = 0; t < shape.tokens; ++t)
    for (int64_t p = 0; p < 3; ++p)
      for (int64_t i = 0; i < d; ++i)
        src[(t * 3 + p) * d + i] = base::to_float(qkv[(t * 3 + p) * shape.width() + head * d + i]);
  attention(src.data(), one, 0, norm, workspace, out.data());
  for (int64_t t = 0; t < shape.tokens; ++t)
    for (int64_t i = 0; i < d; ++i)
      dst[t * shape.width() + head * d + i] = base::to_bfloat16(out[t * d + i]);
}

}  // namespace ditmoe::kernels
