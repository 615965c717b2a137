#include "ditmoe/kernels/expert_dispatch.h"

#include <cstddef>

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

}  // namespace ditmoe::kernels
