#include "ditmoe/kernels/timestep_embedding.h"

#include <cmath>

namespace ditmoe::kernels {

void timestep_embedding(const float* t, int64_t count, float* dst) {
  constexpr int64_t kHalf = kTimestepWidth / 2;
  for (int64_t i = 0; i < kHalf; ++i) {
    const auto frequency = static_cast<float>(std::exp(-std::log(10000.0) * i / kHalf));
    for (int64_t n = 0; n < count; ++n) {
      // The angle is rounded to f32 as trained models saw it; at t near 1000 that is 3e-5.
      const float angle = t[n] * frequency;
      dst[n * kTimestepWidth + i] = std::cos(angle);
      dst[n * kTimestepWidth + kHalf + i] = std::sin(angle);
    }
  }
}

}  // namespace ditmoe::kernels
