#pragma once

#include <cstdint>

#include "ditmoe/kernels/map_shape.h"

namespace ditmoe::kernels::ref {

// Scalar definition of a convolution: a source with so many zeros above and left of it, and as many
// below and right as the result asks for.
//   weight [result.channels, source.channels, kernel, kernel], bias [result.channels]
//   dst[y, x] = bias + sum over i, j of weight[i, j] · source[stride · y + i - border, ...]
void convolution(const float* source,
                 const MapShape& shape,
                 const float* weight,
                 const float* bias,
                 int64_t kernel,
                 int64_t stride,
                 int64_t border,
                 const MapShape& result,
                 float* dst);

// Each pixel twice in both directions: [height, width, channels] → [2 height, 2 width, channels].
void enlarge_twofold(const float* source, const MapShape& shape, float* dst);

}  // namespace ditmoe::kernels::ref
