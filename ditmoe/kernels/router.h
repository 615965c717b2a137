#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// Softmax over the experts' logits, then the top_k experts of each token: of equal weights the
// lowest index wins; choices are sorted by expert index; weights are the softmax values, not
// renormalised (DiT-MoE, arXiv 2407.11633).
//   logits [rows, experts], index and weight [rows, top_k], 1 <= top_k <= experts;
//   workspace [2, experts]
// A row with a NaN gets NaN weights and the experts 0 .. top_k-1: indices are always distinct and
// in range.
void route(const float* logits,
           int64_t rows,
           int64_t experts,
           int64_t top_k,
           float* workspace,
           int32_t* index,
           float* weight);

}  // namespace ditmoe::kernels
