#include "ditmoe/kernels/swiglu.h"

#include "ditmoe/kernels/silu.h"

namespace ditmoe::kernels {

void swiglu(const float* src, int64_t rows, int64_t width, float* dst, int64_t dst_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* gate = src + row * 2 * width;
    const float* up = gate + width;
    float* __restrict__ out = dst + row * dst_stride;
    for (int64_t i = 0; i < width; ++i) {
      out[i] = silu(gate[i]) * up[i];
    }
  }
}

}  // namespace ditmoe::kernels
