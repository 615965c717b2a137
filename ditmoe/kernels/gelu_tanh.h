#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// dst[i] = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) with x = src[i], for i in [0, size): the
// tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415). dst may be src.
void gelu_tanh(const float* src, int64_t size, float* dst);

}  // namespace ditmoe::kernels
