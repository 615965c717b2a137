#include "ditmoe/kernels/ref/quantize.h"

#include <cmath>

namespace ditmoe::kernels::ref {
namespace {

// max|row| / 127; NaN or infinity where the row has one, and NaN wins.
double scale_of(const float* row, int64_t size) {
  double largest = 0.0;
  for (int64_t i = 0; i < size; ++i) {
    const double magnitude = std::abs(static_cast<double>(row[i]));
    if (std::isnan(magnitude)) return magnitude;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest / 127.0;
}

// round(value / scale), to even between two integers; 0 where that is no number.
int rounded(float value, double scale) {
  const double quotient = value / scale;
  return std::isfinite(quotient) ? static_cast<int>(std::nearbyint(quotient)) : 0;
}

}  // namespace

float quantize(const float* src, int64_t width, uint8_t* dst) {
  const double scale = scale_of(src, width);
  for (int64_t i = 0; i < width; ++i) dst[i] = static_cast<uint8_t>(rounded(src[i], scale) + 128);
  return static_cast<float>(scale);
}

void dequantize(const int32_t* src,
                float row_scale,
                const QuantizedColumns& columns,
                const float* bias,
                int64_t width,
                float* dst) {
  for (int64_t i = 0; i < width; ++i) {
    const auto sum = static_cast<double>(static_cast<int64_t>(src[i]) - columns.offset[i]);
    const double value = sum * row_scale * columns.scale[i];
    dst[i] = static_cast<float>(bias != nullptr ? value + bias[i] : value);
  }
}

void quantize_weights(const float* weight,
                      int64_t outputs,
                      int64_t inputs,
                      int8_t* dst,
                      float* scale,
                      int32_t* offset) {
  for (int64_t n = 0; n < outputs; ++n) {
    const float* row = weight + n * inputs;
    const double own = scale_of(row, inputs);
    scale[n] = static_cast<float>(std::isfinite(own) ? own : std::nan(""));
    offset[n] = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      const int value = std::isfinite(own) ? rounded(row[k], own) : 0;
      dst[n * inputs + k] = static_cast<int8_t>(value);
      offset[n] += 128 * value;
    }
  }
}

}  // namespace ditmoe::kernels::ref
