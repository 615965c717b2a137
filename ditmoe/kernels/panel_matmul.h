#pragma once

#include <cstddef>
#include <cstdint>

#include "ditmoe/kernels/precision.h"

namespace ditmoe::kernels {

// The product for CPUs with AVX2 but without AVX-512: there oneDNN chooses among kernels by the
// number of rows, and a row's bits change with it. Here every element is one chain of fused
// multiply-adds over the inputs in order, whatever surrounds it. Weights stored in fewer bits are
// widened to f32, a panel at a time.

// Columns of one panel: two AVX2 registers.
constexpr int64_t kPanelColumns = 16;

// W [outputs, inputs] as panels of 16 outputs, [inputs, 16] each, the last padded with zeros, in
// elements of f32, bf16 or int8.
struct Panels {
  const std::byte* data = nullptr;
  const float* scale = nullptr;  // [outputs] of int8 weights
  Precision precision = Precision::kF32;
  int64_t inputs = 0;
  int64_t outputs = 0;
};

size_t panel_bytes(int64_t outputs, int64_t inputs, Precision precision);

// Packs W [outputs, inputs] of float, BFloat16 or int8_t, as precision says, into dst.
void pack_panels(
    const void* weight, int64_t outputs, int64_t inputs, Precision precision, std::byte* dst);

// y = x W^T + bias
//   x [rows, inputs], bias [outputs] or nullptr, y [rows, outputs]; workspace [inputs, 16], used
//   where W is not f32. They do not alias.
void panel_matmul(const float* x,
                  int64_t rows,
                  const Panels& panels,
                  const float* bias,
                  float* workspace,
                  float* y);

}  // namespace ditmoe::kernels
