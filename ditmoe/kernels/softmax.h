#pragma once

#include <cstdint>

namespace ditmoe::kernels {

// row[i] = e^(scale·row[i]) / sum_j e^(scale·row[j]) in place, scale > 0, size >= 1; computed from
// the largest entry down, so that it never overflows. A NaN anywhere makes the whole row NaN.
void softmax(float* row, int64_t size, float scale);

}  // namespace ditmoe::kernels
