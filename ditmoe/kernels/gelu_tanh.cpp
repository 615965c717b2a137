#include "ditmoe/kernels/gelu_tanh.h"

#include "ditmoe/kernels/exp.h"

namespace ditmoe::kernels {

void gelu_tanh(const float* src, int64_t size, float* dst) {
  constexpr float kTwiceSqrt2OverPi = 1.5957691216057308f;
  for (int64_t i = 0; i < size; ++i) {
    const float x = src[i];
    // (1 + tanh u) / 2 = 1 / (1 + e^-2u)
    const float twice_u = kTwiceSqrt2OverPi * (x + 0.044715f * x * x * x);
    dst[i] = x / (1.0f + exp_f32(-twice_u));
  }
}

}  // namespace ditmoe::kernels
