#include "ditmoe/kernels/ref/softmax.h"

#include <algorithm>
#include <cmath>

namespace ditmoe::kernels::ref {

void softmax(float* row, int64_t size, float scale) {
  const double peak = *std::max_element(row, row + size);
  double sum = 0.0;
  for (int64_t i = 0; i < size; ++i) {
    sum += std::exp(scale * (row[i] - peak));
  }
  for (int64_t i = 0; i < size; ++i) {
    row[i] = static_cast<float>(std::exp(scale * (row[i] - peak)) / sum);
  }
}

}  // namespace ditmoe::kernels::ref
