#pragma once

#include <cstdint>

#include "ditmoe/base/tensor.h"
#include "ditmoe/kernels/precision.h"

namespace ditmoe::kernels {

// Weights in 8 bits, symmetric with one scale per output: w[n, k] ~ scale[n] · dst[n, k] with
// scale[n] = max over k of |w[n, k]| / 127, and offset[n] = 128 · sum over k of dst[n, k], which
// the shift of activations to unsigned numbers adds to a product (see QuantizedColumns). An output
// with a NaN or infinite weight gets a scale of NaN, one without a weight above 4e-37 zeros.
//   weight and dst [outputs, inputs]; scale and offset [outputs]
void quantize_weights(const float* weight,
                      int64_t outputs,
                      int64_t inputs,
                      int8_t* dst,
                      float* scale,
                      int32_t* offset);

// Where the scale and offset of each output of int8 weights go.
struct QuantizedWeights {
  float* scale = nullptr;
  int32_t* offset = nullptr;
};

// Weights in the element type that a precision stores: F32, BF16 or I8.
struct RoundedWeights {
  base::Tensor owned;  // empty where the weights have that type already
  const std::byte* data = nullptr;
  base::DType dtype = base::DType::kF32;
};

base::DType stored_dtype(Precision precision);

// Rounds W [outputs, ...] of F32 or BF16; quantized is for int8 alone. The result may point into W.
RoundedWeights round_weights(const base::TensorView& weight,
                             Precision precision,
                             const QuantizedWeights& quantized);

}  // namespace ditmoe::kernels
