#include "ditmoe/kernels/ref/gated_residual.h"

namespace ditmoe::kernels::ref {

void gated_residual(const float* src, const float* gate, int64_t rows, int64_t width, float* x) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      const double sum = x[row * width + i] + static_cast<double>(gate[i]) * src[row * width + i];
      x[row * width + i] = static_cast<float>(sum);
    }
  }
}

}  // namespace ditmoe::kernels::ref
