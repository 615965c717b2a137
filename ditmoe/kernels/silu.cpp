#include "ditmoe/kernels/silu.h"

namespace ditmoe::kernels {

void silu(const float* src, int64_t size, float* dst) {
  for (int64_t i = 0; i < size; ++i) {
    dst[i] = silu(src[i]);
  }
}

}  // namespace ditmoe::kernels
