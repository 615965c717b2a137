#pragma once

#include <cstdint>

#include "ditmoe/kernels/expert_dispatch.h"

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::dispatch; the same contract.
void dispatch(
    const int32_t* index, int64_t tokens, int64_t top_k, int64_t experts, ExpertDispatch& result);

// Scalar definition of kernels::gather_rows; the same contract.
void gather_rows(const float* src, const int32_t* token, int64_t slots, int64_t width, float* dst);

// Scalar definition of kernels::combine_experts; the same contract.
void combine_experts(const float* expert_out,
                     const int32_t* slot,
                     const float* weight,
                     int64_t tokens,
                     int64_t top_k,
                     int64_t width,
                     float* dst);

}  // namespace ditmoe::kernels::ref
