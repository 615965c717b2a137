#include "ditmoe/kernels/ref/expert_dispatch.h"

#include <cstddef>

namespace ditmoe::kernels::ref {

void dispatch(
    const int32_t* index, int64_t tokens, int64_t top_k, int64_t experts, ExpertDispatch& result) {
  result.first_slot.assign(1, 0);
  result.token.clear();
  result.slot.assign(static_cast<size_t>(tokens * top_k), 0);
  for (int64_t expert = 0; expert < experts; ++expert) {
    for (int64_t choice = 0; choice < tokens * top_k; ++choice) {
      if (index[choice] == expert) {
        result.slot[choice] = static_cast<int32_t>(result.token.size());
        result.token.push_back(static_cast<int32_t>(choice / top_k));
      }
    }
    result.first_slot.push_back(static_cast<int64_t>(result.token.size()));
  }
}

void combine_experts(const float* expert_out,
                     const int32_t* slot,
                     const float* weight,
                     int64_t tokens,
                     int64_t top_k,
                     int64_t width,
                     float* dst) {
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t i = 0; i < width; ++i) {
      double sum = dst[token * width + i];
      for (int64_t k = token * top_k; k < (token + 1) * top_k; ++k) {
        sum += static_cast<double>(weight[k]) * expert_out[slot[k] * width + i];
      }
      dst[token * width + i] = static_cast<float>(sum);
    }
  }
}

}  // namespace ditmoe::kernels::ref
