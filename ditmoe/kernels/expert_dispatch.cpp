#include "ditmoe/kernels/expert_dispatch.h"

#include <cstddef>
#include <cstring>

namespace ditmoe::kernels {

void dispatch(
    const int32_t* index, int64_t tokens, int64_t top_k, int64_t experts, ExpertDispatch& result) {
  const int64_t choices = tokens * top_k;
  result.first_slot.assign(static_cast<size_t>(experts + 1), 0);
  result.token.resize(static_cast<size_t>(choices));
  result.slot.resize(static_cast<size_t>(choices));
  for (int64_t choice = 0; choice < choices; ++choice) {
    ++result.first_slot[index[choice] + 1];
  }
  for (int64_t expert = 0; expert < experts; ++expert) {
    result.first_slot[expert + 1] += result.first_slot[expert];
  }
  result.next.assign(result.first_slot.begin(), result.first_slot.end() - 1);
  for (int64_t choice = 0; choice < choices; ++choice) {
    const int64_t slot = result.next[index[choice]]++;
    result.token[slot] = static_cast<int32_t>(choice / top_k);
    result.slot[choice] = static_cast<int32_t>(slot);
  }
}

void gather_rows(const float* src, const int32_t* token, int64_t slots, int64_t width, float* dst) {
  for (int64_t slot = 0; slot < slots; ++slot) {
    std::memcpy(
        dst + slot * width, src + token[slot] * width, static_cast<size_t>(width) * sizeof(float));
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
    float* __restrict__ out = dst + token * width;
    for (int64_t k = 0; k < top_k; ++k) {
      const float* row = expert_out + slot[token * top_k + k] * width;
      const float w = weight[token * top_k + k];
      for (int64_t i = 0; i < width; ++i) {
        out[i] += w * row[i];
      }
    }
  }
}

}  // namespace ditmoe::kernels
