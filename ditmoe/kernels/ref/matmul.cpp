#include "ditmoe/kernels/ref/matmul.h"

namespace ditmoe::kernels::ref {

void matmul(const float* x,
            int64_t rows,
            const float* weight,
            const float* bias,
            int64_t outputs,
            int64_t inputs,
            float* y) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t out = 0; out < outputs; ++out) {
      double sum = bias != nullptr ? bias[out] : 0.0;
      for (int64_t in = 0; in < inputs; ++in) {
        sum += static_cast<double>(x[row * inputs + in]) * weight[out * inputs + in];
      }
      y[row * outputs + out] = static_cast<float>(sum);
    }
  }
}

}  // namespace ditmoe::kernels::ref
