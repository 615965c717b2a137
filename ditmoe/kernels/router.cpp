#include "ditmoe/kernels/router.h"

#include <algorithm>

#include "ditmoe/kernels/softmax.h"

namespace ditmoe::kernels {
namespace {

// Marks an expert as taken: below every probability.
constexpr float kTaken = -1.0f;

// The first of the largest entries; where all comparisons fail for NaN, the first not taken.
int64_t best_expert(const float* probability, int64_t experts) {
  const auto is_free = [](float p) { return !(p == kTaken); };
  const float* best = std::find_if(probability, probability + experts, is_free);
  for (const float* it = best; it != probability + experts; ++it) {
    if (*it > *best) best = it;
  }
  return best - probability;
}

}  // namespace

void route(const float* logits,
           int64_t rows,
           int64_t experts,
           int64_t top_k,
           float* workspace,
           int32_t* index,
           float* weight) {
  float* probability = workspace;
  float* remaining = workspace + experts;
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(logits + row * experts, experts, probability);
    softmax(probability, experts, 1.0f);
    std::copy_n(probability, experts, remaining);
    int32_t* chosen = index + row * top_k;
    for (int64_t k = 0; k < top_k; ++k) {
      const int64_t expert = best_expert(remaining, experts);
      remaining[expert] = kTaken;
      chosen[k] = static_cast<int32_t>(expert);
    }
    std::sort(chosen, chosen + top_k);
    for (int64_t k = 0; k < top_k; ++k) {
      weight[row * top_k + k] = probability[chosen[k]];
    }
  }
}

}  // namespace ditmoe::kernels
