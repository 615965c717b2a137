#include "ditmoe/kernels/ref/timestep_embedding.h"

#include <cmath>

namespace ditmoe::kernels::ref {

void timestep_embedding(const float* t, int64_t count, float* dst) {
  for (int64_t n = 0; n < count; ++n) {
    for (int64_t i = 0; i < 128; ++i) {
      const double angle = t[n] * std::pow(10000.0, -static_cast<double>(i) / 128.0);
      dst[n * 256 + i] = static_cast<float>(std::cos(angle));
      dst[n * 256 + 128 + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace ditmoe::kernels::ref
