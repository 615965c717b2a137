#pragma once

#include <cstdint>
#include <span>

namespace ditmoe::kernels::ref {

// Scalar definition of kernels::sincos_position_embedding; the same contract.
void sincos_position_embedding(int64_t grid, int64_t width, std::span<float> out_TD);

}  // namespace ditmoe::kernels::ref
