#include "ditmoe/kernels/ref/router.h"

#include <vector>

#include "ditmoe/kernels/ref/softmax.h"

namespace ditmoe::kernels::ref {

void route(const float* logits,
           int64_t rows,
           int64_t experts,
           int64_t top_k,
           int32_t* index,
           float* weight) {
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<float> probability(logits + row * experts, logits + (row + 1) * experts);
    softmax(probability.data(), experts, 1.0f);
    // An expert is chosen if fewer than top_k others are better: larger, or equal and earlier.
    int64_t k = row * top_k;
    for (int64_t expert = 0; expert < experts; ++expert) {
      int64_t better = 0;
      for (int64_t other = 0; other < experts; ++other) {
        const bool larger = probability[other] > probability[expert];
        const bool not_smaller = !(probability[other] < probability[expert]);
        better += larger || (not_smaller && other < expert) ? 1 : 0;
      }
      if (better < top_k) {
        index[k] = static_cast<int32_t>(expert);
        weight[k] = probability[expert];
        ++k;
      }
    }
  }
}

}  // namespace ditmoe::kernels::ref
