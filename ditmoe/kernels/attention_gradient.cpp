#include "ditmoe/kernels/attention_gradient.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ditmoe/kernels/bfloat16.h"

namespace ditmoe::kernels {
namespace {

// Queries of a block: scores of so many rows stay in the second-level cache for common lengths.
constexpr int64_t kBlockRows = 128;

float value_of(float value) { return value; }

float value_of(base::BFloat16 value) { return widen(value); }

void store(float value, float* dst) { *dst = value; }

void store(float value, base::BFloat16* dst) { *dst = narrow(value); }

// One head's pass. Arrays are dense: [tokens, head_dim], scores [block rows, tokens].
template <typename T>
class HeadGradient {
 public:
  HeadGradient(const AttentionShape& shape,
               const GradientKernels& loops,
               Gemm& gemm,
               AttentionGradientWorkspace& workspace)
      : shape_(shape),
        loops_(loops),
        gemm_(gemm),
        dtype_(base::DTypeOf<T>::value),
        rows_(std::min(kBlockRows, shape.tokens)) {
    const int64_t matrix = shape.tokens * shape.head_dim;
    const int64_t block = rows_ * shape.tokens;
    constexpr bool kWide = std::is_same_v<T, float>;
    const int64_t elements = 4 * matrix + 2 * block;
    workspace.floats.resize(static_cast<size_t>(5 * matrix + 2 * block + (kWide ? elements : 0)));
    if constexpr (!kWide) workspace.halves.resize(static_cast<size_t>(elements));
    float* next = workspace.floats.data();
    const auto take = [&next](int64_t count) { return std::exchange(next, next + count); };
    for (float** array : {&dq_, &dk_, &dv_, &raw_q_, &raw_k_}) *array = take(matrix);
    scores_ = take(block);
    dp_ = take(block);
    T* element = nullptr;
    if constexpr (kWide) {
      element = next;
    } else {
      element = workspace.halves.data();
    }
    for (T** array : {&q_, &k_, &v_, &dout_}) *array = std::exchange(element, element + matrix);
    for (T** array : {&p_, &ds_}) *array = std::exchange(element, element + block);
  }

  void run(const T* qkv,
           const T* dout,
           int64_t head,
           const QkNorm* norm,
           const QkNormGradient* dnorm,
           T* dqkv) {
    gather(qkv, dout, head, norm);
    for (int64_t first = 0; first < shape_.tokens; first += rows_) {
      block(first, std::min(rows_, shape_.tokens - first));
    }
    if (norm != nullptr) {
      norm_backward(raw_q_, norm->q_weight, dq_, dnorm->q_weight, dnorm->q_bias);
      norm_backward(raw_k_, norm->k_weight, dk_, dnorm->k_weight, dnorm->k_bias);
    }
    scatter(head, dqkv);
  }

 private:
  // Rows of the head's queries, keys and values, normalised, and of dout.
  void gather(const T* qkv, const T* dout, int64_t head, const QkNorm* norm) {
    const int64_t dim = shape_.head_dim;
    const int64_t width = shape_.width();
    for (int64_t token = 0; token < shape_.tokens; ++token) {
      const T* row = qkv + token * 3 * width + head * dim;
      std::copy_n(row + 2 * width, dim, v_ + token * dim);
      std::copy_n(dout + token * width + head * dim, dim, dout_ + token * dim);
      if (norm == nullptr) {
        std::copy_n(row, dim, q_ + token * dim);
        std::copy_n(row + width, dim, k_ + token * dim);
      } else {
        normalise(row, norm->q_weight, norm->q_bias, raw_q_ + token * dim, q_ + token * dim);
        normalise(
            row + width, norm->k_weight, norm->k_bias, raw_k_ + token * dim, k_ + token * dim);
      }
    }
  }

  void normalise(const T* src, const float* weight, const float* bias, float* raw, T* dst) const {
    const int64_t dim = shape_.head_dim;
    for (int64_t i = 0; i < dim; ++i) raw[i] = value_of(src[i]);
    float* normed = dq_;  // not in use yet
    loops_.layer_norm_affine_forward(raw, weight, bias, dim, normed);
    for (int64_t i = 0; i < dim; ++i) store(normed[i], dst + i);
  }

  void norm_backward(
      const float* raw, const float* weight, float* dx, float* dweight, float* dbias) const {
    const int64_t dim = shape_.head_dim;
    for (int64_t token = 0; token < shape_.tokens; ++token) {
      float* row = dx + token * dim;
      loops_.layer_norm_affine(raw + token * dim, weight, row, dim, row, dweight, dbias);
    }
  }

  // Queries [first, first + rows): their dq, and what they add to dk and dv.
  void block(int64_t first, int64_t rows) {
    const int64_t tokens = shape_.tokens;
    const int64_t dim = shape_.head_dim;
    const T* q = q_ + first * dim;
    const T* dout = dout_ + first * dim;
    const bool add = first > 0;
    GemmShape by_key{.rows = rows, .columns = tokens, .inner = dim, .transposed_b = true};
    by_key.operands = dtype_;
    gemm_.run(by_key, q, k_, scores_);
    gemm_.run(by_key, dout, v_, dp_);
    const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t at = row * tokens;
      loops_.softmax<T>().backward(scores_ + at, dp_ + at, scale, tokens, p_ + at, ds_ + at);
    }
    const GemmShape to_query{.rows = rows, .columns = dim, .inner = tokens, .operands = dtype_};
    gemm_.run(to_query, ds_, k_, dq_ + first * dim);
    const GemmShape to_key{.rows = tokens,
                           .columns = dim,
                           .inner = rows,
                           .transposed_a = true,
                           .operands = dtype_,
                           .accumulate = add};
    gemm_.run(to_key, ds_, q, dk_);
    gemm_.run(to_key, p_, dout, dv_);
  }

  void scatter(int64_t head, T* dqkv) const {
    const int64_t dim = shape_.head_dim;
    const int64_t width = shape_.width();
    for (int64_t token = 0; token < shape_.tokens; ++token) {
      T* row = dqkv + token * 3 * width + head * dim;
      int64_t part = 0;
      for (const float* src : {dq_, dk_, dv_}) {
        T* dst = row + width * part++;
        for (int64_t i = 0; i < dim; ++i) store(src[token * dim + i], dst + i);
      }
    }
  }

  const AttentionShape& shape_;
  const GradientKernels& loops_;
  Gemm& gemm_;
  base::DType dtype_;
  int64_t rows_;
  float *dq_, *dk_, *dv_, *raw_q_, *raw_k_, *scores_, *dp_;
  T *q_, *k_, *v_, *dout_, *p_, *ds_;
};

}  // namespace

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
                        T* dqkv) {
  HeadGradient<T>(shape, loops, gemm, workspace).run(qkv, dout, head, norm, dnorm, dqkv);
}

template void attention_gradient(const float*,
                                 const float*,
                                 const AttentionShape&,
                                 int64_t,
                                 const QkNorm*,
                                 const QkNormGradient*,
                                 const GradientKernels&,
                                 Gemm&,
                                 AttentionGradientWorkspace&,
                                 float*);
template void attention_gradient(const base::BFloat16*,
                                 const base::BFloat16*,
                                 const AttentionShape&,
                                 int64_t,
                                 const QkNorm*,
                                 const QkNormGradient*,
                                 const GradientKernels&,
                                 Gemm&,
                                 AttentionGradientWorkspace&,
                                 base::BFloat16*);

}  // namespace ditmoe::kernels
