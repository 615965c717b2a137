#include "ditmoe/kernels/ref/attention.h"

#include <cmath>
#include <vector>

#include "ditmoe/kernels/ref/layer_norm.h"
#include "ditmoe/kernels/ref/softmax.h"

namespace ditmoe::kernels::ref {
namespace {

// One head of q, k or v, dense [tokens, head_dim], normalised where weight is given.
std::vector<float> head_of(const float* src,
                           const AttentionShape& shape,
                           const float* weight,
                           const float* bias) {
  const int64_t dim = shape.head_dim;
  std::vector<float> result(static_cast<size_t>(shape.tokens * dim));
  for (int64_t token = 0; token < shape.tokens; ++token) {
    const float* row = src + token * 3 * shape.width();
    float* out = result.data() + token * dim;
    if (weight != nullptr) {
      layer_norm_affine(row, dim, weight, bias, 1, dim, out, dim);
    } else {
      for (int64_t i = 0; i < dim; ++i) {
        out[i] = row[i];
      }
    }
  }
  return result;
}

}  // namespace

void attention(
    const float* qkv, const AttentionShape& shape, int64_t head, const QkNorm* norm, float* dst) {
  const QkNorm n = norm != nullptr ? *norm : QkNorm{};
  const int64_t dim = shape.head_dim;
  const int64_t width = shape.width();
  const float* first = qkv + head * dim;
  const std::vector<float> q = head_of(first, shape, n.q_weight, n.q_bias);
  const std::vector<float> k = head_of(first + width, shape, n.k_weight, n.k_bias);
  const std::vector<float> v = head_of(first + 2 * width, shape, nullptr, nullptr);
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
  std::vector<float> scores(static_cast<size_t>(shape.tokens));
  for (int64_t query = 0; query < shape.tokens; ++query) {
    for (int64_t key = 0; key < shape.tokens; ++key) {
      double dot = 0.0;
      for (int64_t i = 0; i < dim; ++i) {
        dot += static_cast<double>(q[query * dim + i]) * k[key * dim + i];
      }
      scores[key] = static_cast<float>(dot * scale);
    }
    softmax(scores.data(), shape.tokens, 1.0f);
    for (int64_t i = 0; i < dim; ++i) {
      double sum = 0.0;
      for (int64_t key = 0; key < shape.tokens; ++key) {
        sum += static_cast<double>(scores[key]) * v[key * dim + i];
      }
      dst[query * width + head * dim + i] = static_cast<float>(sum);
    }
  }
}

}  // namespace ditmoe::kernels::ref
