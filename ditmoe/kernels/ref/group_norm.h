#pragma once

#include <cstdint>

#include "ditmoe/kernels/map_shape.h"

namespace ditmoe::kernels::ref {

// Scalar definition of GroupNorm as group_norm.h has it: map → dst, both of the shape given.
void group_norm(const float* map,
                const MapShape& shape,
                int64_t groups,
                const float* weight,
                const float* bias,
                float* dst);

}  // namespace ditmoe::kernels::ref
