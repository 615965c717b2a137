#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ditmoe::kernels {

// Rows of one batch sorted by the expert they go to. A choice is one (token, k); it occupies one
// slot of the sorted order. Experts without tokens have an empty range.
struct ExpertDispatch {
  std::vector<int64_t>
      first_slot;              // [experts + 1] expert e owns [first_slot[e], first_slot[e + 1])
  std::vector<int32_t> token;  // [tokens · top_k] whose row a slot holds
  std::vector<int32_t> slot;   // [tokens, top_k] where a choice went
  std::vector<int64_t> next;   // [experts] what dispatch works in

  // Room for so many choices, so that dispatch need not ask for memory.
  void reserve(int64_t choices, int64_t experts) {
    first_slot.reserve(static_cast<size_t>(experts + 1));
    next.reserve(static_cast<size_t>(experts));
    token.reserve(static_cast<size_t>(choices));
    slot.reserve(static_cast<size_t>(choices));
  }
};

// Sorts the choices by expert, tokens in their order within one expert.
//   index [tokens, top_k], each in [0, experts)
void dispatch(
    const int32_t* index, int64_t tokens, int64_t top_k, int64_t experts, ExpertDispatch& result);

}  // namespace ditmoe::kernels
