#include "ditmoe/kernels/quantize_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {
namespace {

constexpr int32_t kShift = 128;  // what unsigned activations are larger by

// The largest absolute value; NaN where one is not finite.
float largest(const float* row, int64_t size) {
  float peak = 0.0f;
  bool finite = true;
  for (int64_t i = 0; i < size; ++i) {
    peak = std::max(peak, std::abs(row[i]));
    finite = finite && std::isfinite(row[i]);
  }
  return finite ? peak : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace

void quantize_weights(const float* weight,
                      int64_t outputs,
                      int64_t inputs,
                      int8_t* dst,
                      float* scale,
                      int32_t* offset) {
  for (int64_t n = 0; n < outputs; ++n) {
    const float* row = weight + n * inputs;
    int8_t* quantized = dst + n * inputs;
    const float peak = largest(row, inputs);
    scale[n] = peak / 127.0f;
    const float quotient = 127.0f / peak;
    const float inverse = std::isfinite(quotient) ? quotient : 0.0f;
    int32_t sum = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      // No NaN, and nothing beyond 127, reaches the integer.
      const float value = inverse > 0.0f ? std::nearbyint(row[k] * inverse) : 0.0f;
      quantized[k] = static_cast<int8_t>(value);
      sum += quantized[k];
    }
    offset[n] = kShift * sum;
  }
}

base::DType stored_dtype(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return base::DType::kF32;
    case Precision::kBf16:
      return base::DType::kBF16;
    case Precision::kInt8:
      return base::DType::kI8;
  }
  DITMOE_ASSERT(false);
}

RoundedWeights round_weights(const base::TensorView& weight,
                             Precision precision,
                             const QuantizedWeights& quantized) {
  RoundedWeights rounded;
  rounded.dtype = stored_dtype(precision);
  if (precision != Precision::kInt8) {
    rounded.data = weight.data;
    if (weight.dtype == rounded.dtype) return rounded;
    rounded.owned = base::convert(weight, rounded.dtype);
    rounded.data = rounded.owned.data();
    return rounded;
  }
  const bool narrow = weight.dtype != base::DType::kF32;
  const base::Tensor wide = narrow ? base::convert(weight, base::DType::kF32) : base::Tensor();
  const std::byte* values = narrow ? wide.view().data : weight.data;
  const int64_t outputs = weight.shape.at(0);
  rounded.owned = base::Tensor(rounded.dtype, weight.shape);
  rounded.data = rounded.owned.data();
  quantize_weights(reinterpret_cast<const float*>(values),
                   outputs,
                   weight.size() / outputs,
                   rounded.owned.as<int8_t>().data(),
                   quantized.scale,
                   quantized.offset);
  return rounded;
}

}  // namespace ditmoe::kernels
