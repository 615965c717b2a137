#pragma once

// The loops behind RowKernels, included once by each file that compiles them for an instruction
// set. All is in an anonymous namespace or forced inline: a function that the linker merged between
// those files could carry instructions that a CPU lacks.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ditmoe/kernels/bfloat16.h"
#include "ditmoe/kernels/exp.h"
#include "ditmoe/kernels/layer_norm.h"
#include "ditmoe/kernels/reduce.h"
#include "ditmoe/kernels/row_kernels.h"
#include "ditmoe/kernels/silu.h"

namespace ditmoe::kernels {
namespace {

constexpr int64_t kBlock = 64;  // elements that stay in registers while several rows are added

void layer_norm_modulate_row(const float* x,
                             const float* shift,
                             const float* scale,
                             int64_t width,
                             float* __restrict__ dst) {
  const float count = static_cast<float>(width);
  const float mean = sum_in_lanes(width, [x](int64_t i) { return x[i]; }) / count;
  const float squares = sum_in_lanes(width, [x, mean](int64_t i) {
    const float centred = x[i] - mean;
    return centred * centred;
  });
  const float inverse_deviation = 1.0f / std::sqrt(squares / count + kLayerNormEps);
  for (int64_t i = 0; i < width; ++i) {
    dst[i] = (x[i] - mean) * inverse_deviation * (1.0f + scale[i]) + shift[i];
  }
}

void gated_residual_row(const float* src, const float* gate, int64_t width, float* __restrict__ x) {
  for (int64_t i = 0; i < width; ++i) x[i] += gate[i] * src[i];
}

// combine() for elements [first, first + kSize).
template <int64_t kSize>
[[gnu::always_inline]] inline void combine_block(const float* everyone,
                                                 const float* expert_out,
                                                 const int32_t* slot,
                                                 const float* weight,
                                                 int64_t top_k,
                                                 const float* gate,
                                                 int64_t width,
                                                 int64_t first,
                                                 float* __restrict__ x) {
  float sum[kSize];
  for (int64_t i = 0; i < kSize; ++i) sum[i] = everyone != nullptr ? everyone[first + i] : 0.0f;
  for (int64_t k = 0; k < top_k; ++k) {
    const float* row = expert_out + slot[k] * width + first;
    const float w = weight[k];
    for (int64_t i = 0; i < kSize; ++i) sum[i] += w * row[i];
  }
  for (int64_t i = 0; i < kSize; ++i) x[first + i] += gate[first + i] * sum[i];
}

void combine_row(const float* everyone,
                 const float* expert_out,
                 const int32_t* slot,
                 const float* weight,
                 int64_t top_k,
                 const float* gate,
                 int64_t width,
                 float* x) {
  int64_t i = 0;
  for (; i + kBlock <= width; i += kBlock) {
    combine_block<kBlock>(everyone, expert_out, slot, weight, top_k, gate, width, i, x);
  }
  for (; i < width; ++i) {
    combine_block<1>(everyone, expert_out, slot, weight, top_k, gate, width, i, x);
  }
}

// Dot products of x with kCount rows of weight at once: their sums do not wait for one another.
template <int kCount>
[[gnu::always_inline]] inline void dot_products(const float* x,
                                                const float* weight,
                                                int64_t width,
                                                float* out) {
  constexpr int64_t kLanes = 16;
  float lanes[kCount][kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    for (int row = 0; row < kCount; ++row) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[row][lane] += x[i + lane] * weight[row * width + i + lane];
      }
    }
  }
  for (int row = 0; row < kCount; ++row) {
    float sum = 0.0f;
    for (int64_t rest = i; rest < width; ++rest) sum += x[rest] * weight[row * width + rest];
    for (int64_t half = kLanes / 2; half > 0; half /= 2) {
      for (int64_t lane = 0; lane < half; ++lane) lanes[row][lane] += lanes[row][lane + half];
    }
    out[row] = lanes[row][0] + sum;
  }
}

void router_logits_row(
    const float* x, const float* weight, int64_t experts, int64_t width, float* logits) {
  int64_t e = 0;
  for (; e + 4 <= experts; e += 4) dot_products<4>(x, weight + e * width, width, logits + e);
  for (; e < experts; ++e) dot_products<1>(x, weight + e * width, width, logits + e);
}

void to_bf16_row(const float* src, int64_t count, base::BFloat16* __restrict__ dst) {
  for (int64_t i = 0; i < count; ++i) dst[i] = narrow(src[i]);
}

[[gnu::always_inline]] inline float value_of(float value) { return value; }

[[gnu::always_inline]] inline float value_of(base::BFloat16 value) { return widen(value); }

template <typename T>
float quantize_row(const T* src, int64_t width, uint8_t* __restrict__ dst) {
  // As integers, absolute values compare like floats, and NaN is the largest.
  uint32_t largest_bits = 0;
  for (int64_t i = 0; i < width; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(value_of(src[i])) & 0x7fffffff;
    largest_bits = bits > largest_bits ? bits : largest_bits;
  }
  const float largest = std::bit_cast<float>(largest_bits);
  const float quotient = 127.0f / largest;
  const float inverse = quotient < std::numeric_limits<float>::infinity() ? quotient : 0.0f;
  // Adding 1.5 · 2^23 rounds to an integer, left in the low bits of the sum.
  constexpr float kRound = 12582912.0f;
  for (int64_t i = 0; i < width; ++i) {
    const float shifted = value_of(src[i]) * inverse + (kRound + 128.0f);
    dst[i] = static_cast<uint8_t>(std::bit_cast<uint32_t>(shifted));
  }
  return largest * (1.0f / 127.0f);
}

[[gnu::always_inline]] inline void store(float value, float* dst) { *dst = value; }

[[gnu::always_inline]] inline void store(float value, base::BFloat16* dst) { *dst = narrow(value); }

template <typename T>
void swiglu_rows(const float* src, int64_t rows, int64_t width, T* dst, int64_t dst_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* gate = src + row * 2 * width;
    const float* up = gate + width;
    T* __restrict__ out = dst + row * dst_stride;
    for (int64_t i = 0; i < width; ++i) store(silu(gate[i]) * up[i], out + i);
  }
}

void swiglu_int8_rows(const int32_t* src,
                      int64_t rows,
                      int64_t width,
                      const float* row_scale,
                      const QuantizedColumns& columns,
                      base::BFloat16* dst,
                      int64_t dst_stride) {
  const float* scale = columns.scale;
  const int32_t* offset = columns.offset;
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t* gate = src + row * 2 * width;
    const int32_t* up = gate + width;
    const float own = row_scale[row];
    base::BFloat16* __restrict__ out = dst + row * dst_stride;
    for (int64_t i = 0; i < width; ++i) {
      const float g = static_cast<float>(gate[i] - offset[i]) * (own * scale[i]);
      const float u = static_cast<float>(up[i] - offset[width + i]) * (own * scale[width + i]);
      out[i] = narrow(silu(g) * u);
    }
  }
}

template <typename T>
void gelu_row(const float* src, int64_t count, T* __restrict__ dst) {
  constexpr float kTwiceSqrt2OverPi = 1.5957691216057308f;
  for (int64_t i = 0; i < count; ++i) {
    const float x = src[i];
    // (1 + tanh u) / 2 = 1 / (1 + e^-2u)
    const float twice_u = kTwiceSqrt2OverPi * (x + 0.044715f * x * x * x);
    store(x / (1.0f + exp_f32(-twice_u)), dst + i);
  }
}

template <typename T>
void dequantize_row(const int32_t* src,
                    float row_scale,
                    const QuantizedColumns& columns,
                    const float* bias,
                    int64_t width,
                    T* dst) {
  const float* scale = columns.scale;
  const int32_t* offset = columns.offset;
  if (bias == nullptr) {
#pragma GCC ivdep
    for (int64_t i = 0; i < width; ++i) {
      store(static_cast<float>(src[i] - offset[i]) * (row_scale * scale[i]), dst + i);
    }
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < width; ++i) {
    store(static_cast<float>(src[i] - offset[i]) * (row_scale * scale[i]) + bias[i], dst + i);
  }
}

constexpr RowKernels kRowLoops = {
    .layer_norm_modulate = layer_norm_modulate_row,
    .gated_residual = gated_residual_row,
    .combine = combine_row,
    .router_logits = router_logits_row,
    .to_bf16 = to_bf16_row,
    .quantize = quantize_row<float>,
    .quantize_bf16 = quantize_row<base::BFloat16>,
    .swiglu_f32 = swiglu_rows<float>,
    .swiglu_bf16 = swiglu_rows<base::BFloat16>,
    .swiglu_int8 = swiglu_int8_rows,
    .gelu_f32 = gelu_row<float>,
    .gelu_bf16 = gelu_row<base::BFloat16>,
    .dequantize = dequantize_row<float>,
    .dequantize_bf16 = dequantize_row<base::BFloat16>,
};

}  // namespace
}  // namespace ditmoe::kernels
