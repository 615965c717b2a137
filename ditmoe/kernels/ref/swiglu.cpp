#include "ditmoe/kernels/ref/swiglu.h"

#include <cmath>

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

}  // namespace ditmoe::kernels::ref
