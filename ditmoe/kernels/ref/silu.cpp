#include "ditmoe/kernels/ref/silu.h"

#include <cmath>

namespace ditmoe::kernels::ref {

void silu(const float* src, int64_t size, float* dst) {
  for (int64_t i = 0; i < size; ++i) {
    const double x = src[i];
    dst[i] = static_cast<float>(x / (1.0 + std::exp(-x)));
  }
}

}  // namespace ditmoe::kernels::ref
