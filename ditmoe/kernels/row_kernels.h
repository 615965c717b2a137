#pragma once

#include <cstdint>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels {

// Products of 8-bit integers as they leave the multiplier, and what makes numbers of them:
//   value[n] = (sum[n] - offset[n]) · row_scale · scale[n]
struct QuantizedColumns {
  const float* scale = nullptr;     // of each output's weights
  const int32_t* offset = nullptr;  // 128 · the sum of each output's weights
};

// Loops over one row (or the rows of one tile), compiled for several instruction sets. A row's
// result depends on the row alone, bit for bit, whatever stands beside it. width is the number of
// elements of a row; nothing aliases unless said. Scalar definitions are in ref/.
struct RowKernels {
  // dst = (x - mean) / sqrt(variance + 1e-6) · (1 + scale) + shift, the variance being the mean
  // square (adaLN, Peebles and Xie, arXiv 2212.09748).
  void (*layer_norm_modulate)(
      const float* x, const float* shift, const float* scale, int64_t width, float* dst);

  // x += gate · src (adaLN-zero, likewise)
  void (*gated_residual)(const float* src, const float* gate, int64_t width, float* x);

  // x += gate · (everyone + sum over k of weight[k] · expert_out[slot[k]]), k ascending.
  //   everyone [width] or nullptr, expert_out [slots, width]
  void (*combine)(const float* everyone,
                  const float* expert_out,
                  const int32_t* slot,
                  const float* weight,
                  int64_t top_k,
                  const float* gate,
                  int64_t width,
                  float* x);

  // logits[e] = sum over i of x[i] · weight[e, i]
  void (*router_logits)(
      const float* x, const float* weight, int64_t experts, int64_t width, float* logits);

  // To the nearest bfloat16, ties to even; NaN stays NaN.
  void (*to_bf16)(const float* src, int64_t count, base::BFloat16* dst);

  // Returns scale = max|src| / 127 and dst = round(src / scale) + 128, so that
  // src ~ scale · (dst - 128). A row with a NaN or an infinity gets a scale of NaN or infinity, one
  // without a value above 4e-37, whose scale has no reciprocal, zeros.
  float (*quantize)(const float* src, int64_t width, uint8_t* dst);
  float (*quantize_bf16)(const base::BFloat16* src, int64_t width, uint8_t* dst);

  // hidden = silu(gate) · up for the rows of a tile (SwiGLU, Shazeer, arXiv 2002.05202).
  //   src [rows, 2, width], dst rows of dst_stride elements
  void (*swiglu_f32)(const float* src, int64_t rows, int64_t width, float* dst, int64_t dst_stride);
  void (*swiglu_bf16)(
      const float* src, int64_t rows, int64_t width, base::BFloat16* dst, int64_t dst_stride);
  // From sums of 8-bit products; row_scale [rows], columns over [2, width].
  void (*swiglu_int8)(const int32_t* src,
                      int64_t rows,
                      int64_t width,
                      const float* row_scale,
                      const QuantizedColumns& columns,
                      base::BFloat16* dst,
                      int64_t dst_stride);

  // dst = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), x = src: the tanh form of GELU
  // (Hendrycks and Gimpel, arXiv 1606.08415).
  void (*gelu_f32)(const float* src, int64_t count, float* dst);
  void (*gelu_bf16)(const float* src, int64_t count, base::BFloat16* dst);

  // Numbers of sums of 8-bit products, plus bias [width] where there is one. dst may be src.
  void (*dequantize)(const int32_t* src,
                     float row_scale,
                     const QuantizedColumns& columns,
                     const float* bias,
                     int64_t width,
                     float* dst);
  void (*dequantize_bf16)(const int32_t* src,
                          float row_scale,
                          const QuantizedColumns& columns,
                          const float* bias,
                          int64_t width,
                          base::BFloat16* dst);
};

// The fastest of them for an instruction set this CPU has.
const RowKernels& row_kernels(base::Isa isa);

}  // namespace ditmoe::kernels
