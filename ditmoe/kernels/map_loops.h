#pragma once

// The loops behind MapKernels, included once by each file that compiles them for an instruction
// set; see row_loops.h for why all is in an anonymous namespace or forced inline.

#include <cstdint>

#include "ditmoe/kernels/bfloat16.h"
#include "ditmoe/kernels/exp.h"
#include "ditmoe/kernels/map_kernels.h"
#include "ditmoe/kernels/reduce.h"
#include "ditmoe/kernels/silu.h"

namespace ditmoe::kernels {
namespace {

[[gnu::always_inline]] inline void store(float value, float* dst) { *dst = value; }

[[gnu::always_inline]] inline void store(float value, base::BFloat16* dst) { *dst = narrow(value); }

template <typename T>
void apply_pixels(
    const float* src, const ChannelAffine& affine, int64_t pixels, int64_t channels, T* dst) {
  const float* scale = affine.scale;
  const float* shift = affine.shift;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const float* x = src + pixel * channels;
    T* __restrict__ out = dst + pixel * channels;
    if (affine.silu) {
      for (int64_t c = 0; c < channels; ++c) store(silu(x[c] * scale[c] + shift[c]), out + c);
    } else {
      for (int64_t c = 0; c < channels; ++c) store(x[c] * scale[c] + shift[c], out + c);
    }
  }
}

void store_pixels(const float* src,
                  const float* residual,
                  int64_t pixels,
                  int64_t channels,
                  int64_t step,
                  float* dst,
                  double* sums) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const float* x = src + pixel * channels;
    float* out = dst + pixel * step;
    if (residual != nullptr) {
      const float* add = residual + pixel * step;
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) out[c] = x[c] + add[c];
    } else {
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; ++c) out[c] = x[c];
    }
    if (sums == nullptr) continue;
    double* __restrict__ sum = sums;
    double* __restrict__ squares = sums + channels;
    for (int64_t c = 0; c < channels; ++c) {
      const double value = out[c];
      sum[c] += value;
      squares[c] += value * value;
    }
  }
}

[[gnu::always_inline]] inline float largest_of(const float* values, int64_t count, float least) {
  constexpr int64_t kLanes = 32;  // two AVX-512 registers
  float lanes[kLanes];
  for (float& lane : lanes) lane = least;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = values[i + lane] > lanes[lane] ? values[i + lane] : lanes[lane];
    }
  }
  for (; i < count; ++i) lanes[0] = values[i] > lanes[0] ? values[i] : lanes[0];
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) {
      lanes[lane] = lanes[lane + half] > lanes[lane] ? lanes[lane + half] : lanes[lane];
    }
  }
  return lanes[0];
}

template <typename T>
float exponentiate_row(
    const float* scores, float scale, int64_t count, float* peak, float* sum, T* __restrict__ p) {
  // A NaN may be lost in the maximum; the exponentials find it.
  const float now = largest_of(scores, count, *peak);
  const float factor = exp_f32((*peak - now) * scale);
  const float added = sum_in_lanes(count, [=](int64_t i) {
    const float value = exp_f32((scores[i] - now) * scale);
    store(value, p + i);
    return value;
  });
  *sum = *sum * factor + added;
  *peak = now;
  return factor;
}

void scale_add_row(const float* src, float factor, int64_t count, float* __restrict__ dst) {
  for (int64_t i = 0; i < count; ++i) dst[i] = dst[i] * factor + src[i];
}

void to_bf16_row(const float* src, int64_t count, base::BFloat16* __restrict__ dst) {
  for (int64_t i = 0; i < count; ++i) dst[i] = narrow(src[i]);
}

constexpr MapKernels kMapLoops = {
    .apply_f32 = apply_pixels<float>,
    .apply_bf16 = apply_pixels<base::BFloat16>,
    .store = store_pixels,
    .exponentiate_f32 = exponentiate_row<float>,
    .exponentiate_bf16 = exponentiate_row<base::BFloat16>,
    .scale_add = scale_add_row,
    .to_bf16 = to_bf16_row,
};

}  // namespace
}  // namespace ditmoe::kernels
