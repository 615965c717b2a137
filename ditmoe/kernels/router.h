#pragma once

#include <cstdint>

namespace ditmoe::kernels {

enum class RouterScore {
  kSoftmax,  // over the experts (DiT-MoE, arXiv 2407.11633)
  kSigmoid,  // of each expert by itself (DeepSeek-V3, arXiv 2412.19437)
};

// How logits become choices and weights. A token goes to the top_k experts of the largest
// score + bias; of equal ones the lowest index wins. Weights are the scores, without the bias,
// divided by their sum over the token's choices if they are renormalised.
struct RouterRule {
  RouterScore score = RouterScore::kSoftmax;
  bool renormalise = false;
  const float* bias = nullptr;  // [experts], or none
};

// score [experts] of logits [experts]; may be the same.
void router_scores(const float* logits, int64_t experts, RouterScore score, float* scores);

// Choices sorted by expert index, and their weights.
//   logits [rows, experts], index and weight [rows, top_k], 1 <= top_k <= experts;
//   workspace [2, experts]
// A row with a NaN gets NaN weights and the experts 0 .. top_k-1: indices are always distinct and
// in range.
void route(const float* logits,
           int64_t rows,
           int64_t experts,
           const RouterRule& rule,
           int64_t top_k,
           float* workspace,
           int32_t* index,
           float* weight);

// The backward pass for one row: dlogits from the gradients of the chosen weights and of the
// scores' shares, share = score / sum of scores (of softmax the score itself), which the balance
// loss is made of.
//   scores, dshare, dlogits [experts]; index, weight, dweight [top_k]; dlogits may be dshare
void route_backward(const float* scores,
                    int64_t experts,
                    const RouterRule& rule,
                    int64_t top_k,
                    const int32_t* index,
                    const float* weight,
                    const float* dweight,
                    const float* dshare,
                    float* dlogits);

}  // namespace ditmoe::kernels
