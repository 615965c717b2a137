#include "ditmoe/kernels/router.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "ditmoe/kernels/exp.h"
#include "ditmoe/kernels/softmax.h"

namespace ditmoe::kernels {
namespace {

// Marks an expert as taken: below every score.
constexpr float kTaken = -std::numeric_limits<float>::infinity();

// The first of the largest entries; where all comparisons fail for NaN, the first not taken.
int64_t best_expert(const float* score, int64_t experts) {
  const auto is_free = [](float s) { return !(s == kTaken); };
  const float* best = std::find_if(score, score + experts, is_free);
  for (const float* it = best; it != score + experts; ++it) {
    if (*it > *best) best = it;
  }
  return best - score;
}

void choose(float* remaining, int64_t experts, int64_t top_k, int32_t* index) {
  for (int64_t k = 0; k < top_k; ++k) {
    const int64_t expert = best_expert(remaining, experts);
    remaining[expert] = kTaken;
    index[k] = static_cast<int32_t>(expert);
  }
  std::sort(index, index + top_k);
}

float sum_of_choices(const float* scores, const int32_t* index, int64_t top_k) {
  float sum = 0.0f;
  for (int64_t k = 0; k < top_k; ++k) sum += scores[index[k]];
  return sum;
}

}  // namespace

void router_scores(const float* logits, int64_t experts, RouterScore score, float* scores) {
  std::copy_n(logits, experts, scores);
  if (score == RouterScore::kSoftmax) {
    softmax(scores, experts, 1.0f);
    return;
  }
  float check = 0.0f;  // a NaN spoils the row, as it does under softmax
  for (int64_t e = 0; e < experts; ++e) check += logits[e] * 0.0f;
  for (int64_t e = 0; e < experts; ++e) scores[e] = 1.0f / (1.0f + exp_f32(-logits[e])) + check;
}

void route(const float* logits,
           int64_t rows,
           int64_t experts,
           const RouterRule& rule,
           int64_t top_k,
           float* workspace,
           int32_t* index,
           float* weight) {
  float* scores = workspace;
  float* remaining = workspace + experts;
  for (int64_t row = 0; row < rows; ++row) {
    router_scores(logits + row * experts, experts, rule.score, scores);
    std::copy_n(scores, experts, remaining);
    for (int64_t e = 0; rule.bias != nullptr && e < experts; ++e) remaining[e] += rule.bias[e];
    int32_t* chosen = index + row * top_k;
    choose(remaining, experts, top_k, chosen);
    const float divisor = rule.renormalise ? sum_of_choices(scores, chosen, top_k) : 1.0f;
    for (int64_t k = 0; k < top_k; ++k) {
      weight[row * top_k + k] = scores[chosen[k]] / divisor;
    }
  }
}

void route_backward(const float* scores,
                    int64_t experts,
                    const RouterRule& rule,
                    int64_t top_k,
                    const int32_t* index,
                    const float* weight,
                    const float* dweight,
                    const float* dshare,
                    float* dlogits) {
  const bool is_softmax = rule.score == RouterScore::kSoftmax;
  // By the scores, first through the shares.
  const float sum = is_softmax ? 1.0f : std::accumulate(scores, scores + experts, 0.0f);
  float mean = 0.0f;
  for (int64_t e = 0; !is_softmax && e < experts; ++e) mean += dshare[e] * scores[e] / sum;
  for (int64_t e = 0; e < experts; ++e) dlogits[e] = (dshare[e] - mean) / sum;

  float divisor = 1.0f;
  float mean_weight = 0.0f;
  if (rule.renormalise) {
    divisor = sum_of_choices(scores, index, top_k);
    for (int64_t k = 0; k < top_k; ++k) mean_weight += dweight[k] * weight[k];
  }
  for (int64_t k = 0; k < top_k; ++k) {
    dlogits[index[k]] += (dweight[k] - mean_weight) / divisor;
  }
  if (!is_softmax) {
    for (int64_t e = 0; e < experts; ++e) dlogits[e] *= scores[e] * (1.0f - scores[e]);
    return;
  }
  float dot = 0.0f;
  for (int64_t e = 0; e < experts; ++e) dot += dlogits[e] * scores[e];
  for (int64_t e = 0; e < experts; ++e) dlogits[e] = scores[e] * (dlogits[e] - dot);
}

}  // namespace ditmoe::kernels
