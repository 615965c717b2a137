#pragma once

#include <cstdint>

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

}  // namespace ditmoe::kernels
