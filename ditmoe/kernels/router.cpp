#include "ditmoe/kernels/router.h"

#include <algorithm>
#include <vector>

#include "ditmoe/kernels/softmax.h"

namespace ditmoe::kernels {
namespace {

// Marks an expert as taken: below every probability.
constexpr float kTaken = -1.0f;

// The first of the largest entries; where all comparisons fail for NaN, the first not taken.
int64_t best_expert(const std::vector<float>& probability) {
  const auto is_free = [](float p) { return !(p == kTaken); };
  auto best = std::find_if(probability.begin(), probability.end(), is_free);
  for (auto it = best; it != probability.end(); ++it) {
    if (*it > *best) {
      best = it;
    }
  }
  return best - probability.begin();
}

}  // namespace

void route(const float* logits,
           int64_t rows,
           int64_t experts,
           int64_t top_k,
           int32_t* index,
           float* weight) {
  std::vector<float> probability(static_cast<size_t>(experts));
  std::vector<float> remaining(static_cast<size_t>(experts));
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(logits + row * experts, experts, probability.begin());
    softmax(probability.data(), experts, 1.0f);
    remaining = probability;
    int32_t* chosen = index + row * top_k;
    for (int64_t k = 0; k < top_k; ++k) {
      const int64_t expert = best_expert(remaining);
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
