#pragma once

#include <cstdint>

#include "ditmoe/kernels/row_kernels.h"

namespace ditmoe::kernels::ref {

// Scalar definition of RowKernels::quantize; the same contract.
float quantize(const float* src, int64_t width, uint8_t* dst);

// Scalar definition of RowKernels::dequantize; the same contract.
void dequantize(const int32_t* src,
                float row_scale,
                const QuantizedColumns& columns,
                const float* bias,
                int64_t width,
                float* dst);

// Scalar definition of kernels::quantize_weights; the same contract.
void quantize_weights(const float* weight,
                      int64_t outputs,
                      int64_t inputs,
                      int8_t* dst,
                      float* scale,
                      int32_t* offset);

}  // namespace ditmoe::kernels::ref
