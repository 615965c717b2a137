#include "ditmoe/kernels/ref/gelu_tanh.h"

#include <cmath>
#include <numbers>

namespace ditmoe::kernels::ref {

void gelu_tanh(const float* src, int64_t size, float* dst) {
  for (int64_t i = 0; i < size; ++i) {
    const double x = src[i];
    const double u = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    dst[i] = static_cast<float>(0.5 * x * (1.0 + std::tanh(u)));
  }
}

}  // namespace ditmoe::kernels::ref
