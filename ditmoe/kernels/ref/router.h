#pragma once

#include <cstdint>

#include "ditmoe/kernels/router.h"

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::route; the same contract.
void route(const float* logits,
           int64_t rows,
           int64_t experts,
           const RouterRule& rule,
           int64_t top_k,
           int32_t* index,
           float* weight);

}  // namespace ditmoe::kernels::ref
