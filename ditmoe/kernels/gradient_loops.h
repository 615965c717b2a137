#pragma once

// The loops behind GradientKernels, included once by each file that compiles them for an
// instruction set; see row_loops.h.

#include <cmath>
#include <cstdint>

#include "ditmoe/kernels/bfloat16.h"
#include "ditmoe/kernels/exp.h"
#include "ditmoe/kernels/gradient_kernels.h"
#include "ditmoe/kernels/layer_norm.h"
#include "ditmoe/kernels/reduce.h"

namespace ditmoe::kernels {
namespace {

[[gnu::always_inline]] inline float value_of(float value) { return value; }

[[gnu::always_inline]] inline float value_of(base::BFloat16 value) { return widen(value); }

[[gnu::always_inline]] inline void store(float value, float* dst) { *dst = value; }

[[gnu::always_inline]] inline void store(float value, base::BFloat16* dst) { *dst = narrow(value); }

struct Moments {
  float mean;
  float inverse_deviation;
};

[[gnu::always_inline]] inline Moments moments_of(const float* x, int64_t width) {
  const float count = static_cast<float>(width);
  const float mean = sum_in_lanes(width, [x](int64_t i) { return x[i]; }) / count;
  const float squares = sum_in_lanes(width, [x, mean](int64_t i) {
    const float centred = x[i] - mean;
    return centred * centred;
  });
  return {mean, 1.0f / std::sqrt(squares / count + kLayerNormEps)};
}

// With n = norm(x) and dn = dy · factor: dx = (dn - mean(dn) - n · mean(dn · n)) / deviation.
template <typename Factor>
[[gnu::always_inline]] inline void norm_backward(const float* x,
                                                 const Factor& factor,
                                                 const float* dy,
                                                 int64_t width,
                                                 float* dx,
                                                 float* __restrict__ dfactor,
                                                 float* __restrict__ dshift) {
  const Moments m = moments_of(x, width);
  const float count = static_cast<float>(width);
  const auto norm = [&](int64_t i) { return (x[i] - m.mean) * m.inverse_deviation; };
  const float mean_dn = sum_in_lanes(width, [&](int64_t i) { return dy[i] * factor(i); }) / count;
  const float mean_dn_n =
      sum_in_lanes(width, [&](int64_t i) { return dy[i] * factor(i) * norm(i); }) / count;
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) {
    const float d = dy[i];
    const float n = norm(i);
    dfactor[i] += d * n;
    dshift[i] += d;
    dx[i] = (d * factor(i) - mean_dn - n * mean_dn_n) * m.inverse_deviation;
  }
}

void layer_norm_modulate_backward(const float* x,
                                  const float* scale,
                                  const float* dy,
                                  int64_t width,
                                  float* dx,
                                  float* dshift,
                                  float* dscale) {
  norm_backward(
      x, [scale](int64_t i) { return 1.0f + scale[i]; }, dy, width, dx, dscale, dshift);
}

void layer_norm_affine_backward(const float* x,
                                const float* weight,
                                const float* dy,
                                int64_t width,
                                float* dx,
                                float* dweight,
                                float* dbias) {
  norm_backward(
      x, [weight](int64_t i) { return weight[i]; }, dy, width, dx, dweight, dbias);
}

void layer_norm_affine_row(
    const float* x, const float* weight, const float* bias, int64_t width, float* y) {
  const Moments m = moments_of(x, width);
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) {
    y[i] = (x[i] - m.mean) * m.inverse_deviation * weight[i] + bias[i];
  }
}

void gated_residual_backward(const float* update,
                             const float* gate,
                             const float* dy,
                             int64_t width,
                             float* __restrict__ dupdate,
                             float* __restrict__ dgate) {
  for (int64_t i = 0; i < width; ++i) {
    dupdate[i] = gate[i] * dy[i];
    dgate[i] += dy[i] * update[i];
  }
}

[[gnu::always_inline]] inline float sigmoid(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

template <typename T>
void swiglu_forward(const T* gate_up, int64_t rows, int64_t width, T* __restrict__ hidden) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * width;
    const T* up = gate + width;
    T* __restrict__ out = hidden + row * width;
    for (int64_t i = 0; i < width; ++i) {
      const float g = value_of(gate[i]);
      store(g * sigmoid(g) * value_of(up[i]), out + i);
    }
  }
}

template <typename T>
float swiglu_backward(
    const T* gate_up, const T* dhidden, float weight, int64_t width, T* dgate_up, T* weighted) {
  constexpr int64_t kLanes = 16;
  const T* gate = gate_up;
  const T* up = gate_up + width;
  T* dgate = dgate_up;
  T* dup = dgate_up + width;
  float lanes[kLanes] = {};
  const auto element = [&](int64_t i, float& sum) __attribute__((always_inline)) {
    const float g = value_of(gate[i]);
    const float u = value_of(up[i]);
    const float d = value_of(dhidden[i]);
    const float s = sigmoid(g);
    const float silu = g * s;
    const float hidden = silu * u;
    sum += d * hidden;
    const float dw = d * weight;
    store(dw * u * s * (1.0f + g * (1.0f - s)), dgate + i);
    store(dw * silu, dup + i);
    store(weight * hidden, weighted + i);
  };
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
#pragma GCC ivdep
    for (int64_t lane = 0; lane < kLanes; ++lane) element(i + lane, lanes[lane]);
  }
  for (; i < width; ++i) element(i, lanes[0]);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

template <typename T>
void softmax_backward(float* scores,
                      const float* dp,
                      float scale,
                      int64_t size,
                      T* __restrict__ p,
                      T* __restrict__ ds) {
  float peak = scores[0];
  for (int64_t i = 1; i < size; ++i) peak = scores[i] > peak ? scores[i] : peak;
  const float shift = scale * peak;
  for (int64_t i = 0; i < size; ++i) scores[i] = exp_f32(scale * scores[i] - shift);
  const float inverse = 1.0f / sum_in_lanes(size, [scores](int64_t i) { return scores[i]; });
  const float mean =
      inverse * sum_in_lanes(size, [scores, dp](int64_t i) { return scores[i] * dp[i]; });
  for (int64_t i = 0; i < size; ++i) {
    const float probability = scores[i] * inverse;
    store(probability, p + i);
    store(scale * probability * (dp[i] - mean), ds + i);
  }
}

constexpr GradientKernels kGradientLoops = {
    .layer_norm_modulate = layer_norm_modulate_backward,
    .layer_norm_affine = layer_norm_affine_backward,
    .layer_norm_affine_forward = layer_norm_affine_row,
    .gated_residual = gated_residual_backward,
    .swiglu_f32 = {swiglu_forward<float>, swiglu_backward<float>},
    .swiglu_bf16 = {swiglu_forward<base::BFloat16>, swiglu_backward<base::BFloat16>},
    .softmax_f32 = {softmax_backward<float>},
    .softmax_bf16 = {softmax_backward<base::BFloat16>},
};

}  // namespace
}  // namespace ditmoe::kernels
