#pragma once

#include <cstdint>

#include "ditmoe/base/tensor.h"

namespace ditmoe::kernels {

// The product for CPUs with AVX2 but without AVX-512: there oneDNN chooses among kernels by the
// number of rows, and a row's bits change with it. Here every element is one chain of fused
// multiply-adds over the inputs in order, whatever surrounds it.

// Columns of one panel: two AVX2 registers.
constexpr int64_t kPanelColumns = 16;

// W [outputs, inputs] as panels of 16 outputs, [inputs, 16] each, the last padded with zeros.
base::Tensor pack_panels(const float* weight, int64_t outputs, int64_t inputs);

// y = x W^T + bias
//   x [rows, inputs], bias [outputs] or nullptr, y [rows, outputs]; they do not alias
void panel_matmul(const float* x,
                  int64_t rows,
                  const base::Tensor& panels,
                  const float* bias,
                  int64_t outputs,
                  float* y);

}  // namespace ditmoe::kernels
