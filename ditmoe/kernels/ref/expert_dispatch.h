#pragma once

#include <cstdint>

#include "ditmoe/kernels/expert_dispatch.h"

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::dispatch; the same contract.
void dispatch(
    const int32_t* index, int64_t tokens, int64_t top_k, int64_t experts, ExpertDispatch& result);

// dst[t] += sum over k of weight[t, k] · expert_out[slot[t, k]]: the sum in RowKernels::combine for
// each of the tokens, without the gate.
//   expert_out [slots, width], slot and weight [tokens, top_k], dst [tokens, width]
void combine_experts(const float* expert_out,
                     const int32_t* slot,
                     const float* weight,
                     int64_t tokens,
                     int64_t top_k,
                     int64_t width,
                     float* dst);

}  // namespace ditmoe::kernels::ref
