#include "ditmoe/kernels/ref/router.h"

#include <cmath>
#include <vector>

#include "ditmoe/kernels/ref/softmax.h"

namespace ditmoe::kernels::ref {
namespace {

std::vector<float> scores_of(const float* logits, int64_t experts, RouterScore score) {
  std::vector<float> scores(logits, logits + experts);
  if (score == RouterScore::kSoftmax) {
    softmax(scores.data(), experts, 1.0f);
  } else {
    for (float& s : scores) s = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(s))));
  }
  return scores;
}

}  // namespace

void route(const float* logits,
           int64_t rows,
           int64_t experts,
           const RouterRule& rule,
           int64_t top_k,
           int32_t* index,
           float* weight) {
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<float> scores = scores_of(logits + row * experts, experts, rule.score);
    std::vector<float> rank = scores;
    for (int64_t e = 0; rule.bias != nullptr && e < experts; ++e) rank[e] += rule.bias[e];
    // An expert is chosen if fewer than top_k others are better: larger, or equal and earlier.
    int64_t k = row * top_k;
    float sum = 0;
    for (int64_t expert = 0; expert < experts; ++expert) {
      int64_t better = 0;
      for (int64_t other = 0; other < experts; ++other) {
        const bool larger = rank[other] > rank[expert];
        const bool not_smaller = !(rank[other] < rank[expert]);
        better += larger || (not_smaller && other < expert) ? 1 : 0;
      }
      if (better < top_k) {
        index[k] = static_cast<int32_t>(expert);
        weight[k] = scores[expert];
        sum += scores[expert];
        ++k;
      }
    }
    for (k = row * top_k; rule.renormalise && k < (row + 1) * top_k; ++k) weight[k] /= sum;
  }
}

}  // namespace ditmoe::kernels::ref
