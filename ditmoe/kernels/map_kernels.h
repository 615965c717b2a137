#pragma once

#include <cstdint>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels {

// What is done to a map before it is convolved: x · scale + shift with [channels] of both, which is
// a GroupNorm once its statistics are known (group_norm.h), and silu of that where asked for.
struct ChannelAffine {
  const float* scale = nullptr;
  const float* shift = nullptr;
  bool silu = false;
};

// Loops over pixels, each `channels` floats side by side, compiled for several instruction sets. A
// pixel's result does not depend on the pixels beside it. Nothing aliases unless said.
struct MapKernels {
  // dst = affine(src), src and dst [pixels, channels].
  void (*apply_f32)(
      const float* src, const ChannelAffine& affine, int64_t pixels, int64_t channels, float* dst);
  void (*apply_bf16)(const float* src,
                     const ChannelAffine& affine,
                     int64_t pixels,
                     int64_t channels,
                     base::BFloat16* dst);

  // dst = src + residual for pixels of dst and residual that lie step floats apart, src being
  // [pixels, channels]; residual may be nullptr or dst. Adds to sums [2, channels], unless nullptr,
  // the results and their squares.
  void (*store)(const float* src,
                const float* residual,
                int64_t pixels,
                int64_t channels,
                int64_t step,
                float* dst,
                double* sums);

  // A softmax whose scores come piece by piece. peak is the largest score so far (-infinity at
  // first) and sum what the exponentials add up to (0); both are brought up to date.
  // p[i] = e^(scale · (score[i] - peak)), scale > 0; what was added up before is to be multiplied
  // by the result.
  float (*exponentiate_f32)(
      const float* scores, float scale, int64_t count, float* peak, float* sum, float* p);
  float (*exponentiate_bf16)(
      const float* scores, float scale, int64_t count, float* peak, float* sum, base::BFloat16* p);

  // dst = dst · factor + src
  void (*scale_add)(const float* src, float factor, int64_t count, float* dst);

  // To the nearest bfloat16, ties to even; NaN stays NaN.
  void (*to_bf16)(const float* src, int64_t count, base::BFloat16* dst);
};

// The fastest of them for an instruction set this CPU has.
const MapKernels& map_kernels(base::Isa isa);

}  // namespace ditmoe::kernels
