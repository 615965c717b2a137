#include "ditmoe/kernels/gated_residual.h"

namespace ditmoe::kernels {

void gated_residual(const float* src, const float* gate, int64_t rows, int64_t width, float* x) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = src + row * width;
    float* __restrict__ out = x + row * width;
    for (int64_t i = 0; i < width; ++i) {
      out[i] += gate[i] * in[i];
    }
  }
}

}  // namespace ditmoe::kernels
