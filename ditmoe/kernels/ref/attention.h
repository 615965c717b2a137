#pragma once

#include <cstdint>

#include "ditmoe/kernels/attention.h"

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::attention, without a workspace; the same contract.
void attention(
    const float* qkv, const AttentionShape& shape, int64_t head, const QkNorm* norm, float* dst);

}  // namespace ditmoe::kernels::ref
