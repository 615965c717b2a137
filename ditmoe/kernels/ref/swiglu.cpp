#include "ditmoe/kernels/ref/swiglu.h"

#include <cmath>
#include <vector>

#include "ditmoe/kernels/ref/quantize.h"

namespace ditmoe::kernels::ref {

void swiglu(const float* src, int64_t rows, int64_t width, float* dst, int64_t dst_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      const double gate = src[row * 2 * width + i];
      const double up = src[row * 2 * width + width + i];
      dst[row * dst_stride + i] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * up);
    }
  }
}

void swiglu_int8(const int32_t* src,
                 int64_t rows,
                 int64_t width,
                 const float* row_scale,
                 const QuantizedColumns& columns,
                 float* dst,
                 int64_t dst_stride) {
  std::vector<float> gate_up(static_cast<size_t>(2 * width));
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t* sums = src + row * 2 * width;
    dequantize(sums, row_scale[row], columns, nullptr, 2 * width, gate_up.data());
    swiglu(gate_up.data(), 1, width, dst + row * dst_stride, dst_stride);
  }
}

}  // namespace ditmoe::kernels::ref
