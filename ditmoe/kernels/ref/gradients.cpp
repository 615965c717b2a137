#include "ditmoe/kernels/ref/gradients.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ditmoe/kernels/layer_norm.h"
#include "ditmoe/kernels/ref/layer_norm.h"

namespace ditmoe::kernels::ref {
namespace {

using Matrix = std::vector<float>;  // [tokens, head_dim]

// One of q, k and v (part 0, 1, 2), or of dout, of a head.
Matrix rows_of(const float* src, const AttentionShape& shape, int64_t stride) {
  Matrix rows;
  for (int64_t token = 0; token < shape.tokens; ++token) {
    const float* row = src + token * stride;
    rows.insert(rows.end(), row, row + shape.head_dim);
  }
  return rows;
}

Matrix normalised(const Matrix& raw,
                  const AttentionShape& shape,
                  const float* weight,
                  const float* bias) {
  const int64_t dim = shape.head_dim;
  Matrix result(raw.size());
  layer_norm_affine(raw.data(), dim, weight, bias, shape.tokens, dim, result.data(), dim);
  return result;
}

void back_through_norm(const Matrix& raw,
                       const AttentionShape& shape,
                       const float* weight,
                       Matrix& gradient,
                       float* dweight,
                       float* dbias) {
  Matrix dx(static_cast<size_t>(shape.head_dim));
  for (int64_t token = 0; token < shape.tokens; ++token) {
    float* row = gradient.data() + token * shape.head_dim;
    const float* x = raw.data() + token * shape.head_dim;
    layer_norm_backward(x, weight, row, shape.head_dim, dx.data(), dweight, dbias);
    std::copy(dx.begin(), dx.end(), row);
  }
}

double dot(const float* a, const float* b, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

void add(float* dst, double factor, const float* src, int64_t size) {
  for (int64_t i = 0; i < size; ++i) dst[i] += static_cast<float>(factor * src[i]);
}

}  // namespace

void layer_norm_backward(const float* x,
                         const float* factor,
                         const float* dy,
                         int64_t width,
                         float* dx,
                         float* dfactor,
                         float* dshift) {
  const auto count = static_cast<double>(width);
  double mean = 0;
  double variance = 0;
  for (int64_t i = 0; i < width; ++i) mean += x[i] / count;
  for (int64_t i = 0; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean) / count;
  const double deviation = std::sqrt(variance + kLayerNormEps);
  double mean_dn = 0;
  double mean_dn_n = 0;
  for (int64_t i = 0; i < width; ++i) {
    const double dn = static_cast<double>(dy[i]) * factor[i];
    mean_dn += dn / count;
    mean_dn_n += dn * (x[i] - mean) / deviation / count;
  }
  for (int64_t i = 0; i < width; ++i) {
    const double norm = (x[i] - mean) / deviation;
    const double dn = static_cast<double>(dy[i]) * factor[i];
    dfactor[i] += static_cast<float>(dy[i] * norm);
    dshift[i] += dy[i];
    dx[i] = static_cast<float>((dn - mean_dn - norm * mean_dn_n) / deviation);
  }
}

float swiglu_backward(const float* gate_up,
                      const float* dhidden,
                      float weight,
                      int64_t width,
                      float* dgate_up,
                      float* weighted) {
  double dweight = 0;
  for (int64_t i = 0; i < width; ++i) {
    const double gate = gate_up[i];
    const double up = gate_up[width + i];
    const double sigmoid = 1.0 / (1.0 + std::exp(-gate));
    const double hidden = gate * sigmoid * up;
    const double slope = sigmoid * (1.0 + gate * (1.0 - sigmoid));
    const double d = dhidden[i];
    dweight += d * hidden;
    dgate_up[i] = static_cast<float>(weight * d * up * slope);
    dgate_up[width + i] = static_cast<float>(weight * d * gate * sigmoid);
    weighted[i] = static_cast<float>(weight * hidden);
  }
  return static_cast<float>(dweight);
}

void softmax_backward(
    const float* scores, const float* dp, float scale, int64_t size, float* p, float* ds) {
  double peak = scores[0];
  for (int64_t i = 0; i < size; ++i) peak = std::max<double>(peak, scores[i]);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += std::exp(scale * (scores[i] - peak));
  double mean = 0;
  for (int64_t i = 0; i < size; ++i) {
    p[i] = static_cast<float>(std::exp(scale * (scores[i] - peak)) / sum);
    mean += static_cast<double>(p[i]) * dp[i];
  }
  for (int64_t i = 0; i < size; ++i) ds[i] = static_cast<float>(scale * p[i] * (dp[i] - mean));
}

void attention_gradient(const float* qkv,
                        const float* dout,
                        const AttentionShape& shape,
                        int64_t head,
                        const QkNorm* norm,
                        const QkNormGradient* dnorm,
                        float* dqkv) {
  const int64_t dim = shape.head_dim;
  const int64_t width = shape.width();
  const float* first = qkv + head * dim;
  const Matrix raw_q = rows_of(first, shape, 3 * width);
  const Matrix raw_k = rows_of(first + width, shape, 3 * width);
  const Matrix v = rows_of(first + 2 * width, shape, 3 * width);
  const Matrix d = rows_of(dout + head * dim, shape, width);
  const Matrix q = norm ? normalised(raw_q, shape, norm->q_weight, norm->q_bias) : raw_q;
  const Matrix k = norm ? normalised(raw_k, shape, norm->k_weight, norm->k_bias) : raw_k;
  Matrix dq(q.size()), dk(q.size()), dv(q.size());
  const auto tokens = static_cast<size_t>(shape.tokens);
  std::vector<float> scores(tokens), dp(tokens), p(tokens), ds(tokens);
  const auto row = [dim](auto& matrix, int64_t token) { return matrix.data() + token * dim; };
  for (int64_t i = 0; i < shape.tokens; ++i) {
    for (int64_t j = 0; j < shape.tokens; ++j) {
      scores[static_cast<size_t>(j)] = static_cast<float>(dot(row(q, i), row(k, j), dim));
      dp[static_cast<size_t>(j)] = static_cast<float>(dot(row(d, i), row(v, j), dim));
    }
    const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
    softmax_backward(scores.data(), dp.data(), scale, shape.tokens, p.data(), ds.data());
    for (int64_t j = 0; j < shape.tokens; ++j) {
      add(row(dq, i), ds[static_cast<size_t>(j)], row(k, j), dim);
      add(row(dk, j), ds[static_cast<size_t>(j)], row(q, i), dim);
      add(row(dv, j), p[static_cast<size_t>(j)], row(d, i), dim);
    }
  }
  if (norm != nullptr) {
    back_through_norm(raw_q, shape, norm->q_weight, dq, dnorm->q_weight, dnorm->q_bias);
    back_through_norm(raw_k, shape, norm->k_weight, dk, dnorm->k_weight, dnorm->k_bias);
  }
  for (int64_t token = 0; token < shape.tokens; ++token) {
    float* dst = dqkv + token * 3 * width + head * dim;
    std::copy_n(row(dq, token), dim, dst);
    std::copy_n(row(dk, token), dim, dst + width);
    std::copy_n(row(dv, token), dim, dst + 2 * width);
  }
}

}  // namespace ditmoe::kernels::ref
