#pragma once

#include <cstdint>

#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels::ref {

// Scalar definition of RowKernels::to_bf16; the same contract. Every NaN becomes the quiet one, a
// value that is nearer to 2^128 than to the largest bfloat16 becomes infinity.
void to_bf16(const float* src, int64_t count, base::BFloat16* dst);

}  // namespace ditmoe::kernels::ref
