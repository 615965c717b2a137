#pragma once

#include <cstdint>
#include <span>

namespace ditmoe::kernels {

// The fixed 2-D sine-cosine position embedding of DiT for a square grid of patches, row-major
// tokens.
//   out_TD [grid², width]; width divisible by 4. With n = width/4 and ω_i = 10000^(-i/n), i < n:
//   out[y·grid + x] = [sin(x·ω), cos(x·ω), sin(y·ω), cos(y·ω)]
void sincos_position_embedding(int64_t grid, int64_t width, std::span<float> out_TD);

}  // namespace ditmoe::kernels
