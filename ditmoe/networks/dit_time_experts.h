#pragma once

#include <cstdint>

#include "ditmoe/kernels/products.h"
#include "ditmoe/kernels/tiles.h"
#include "ditmoe/networks/dit_buffers.h"
#include "ditmoe/networks/dit_conditioning.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/dit_weights.h"

namespace ditmoe::networks {

// What a Switch-DiT does before a block (Park et al., arXiv 2403.09176): every row x of an image is
// multiplied by m = 1 + sum over the K experts that its timestep chooses of p · (x W^T + b), and
// (1 - m) · x is added again behind the block. For the rows of a tile, on the calling thread:
//   masked = (m - 1) · x, x += masked
// Behind the block, leave_time_experts subtracts masked. Rounding in the products therefore moves
// what the block sees, but not what passes it by.
void enter_time_experts(const DitConfig& config,
                        const kernels::Products& products,
                        const TimeExpertWeights& weights,
                        const DitConditioning& conditioning,
                        int64_t layer,
                        const kernels::Tile& tile,
                        const DitBuffers& buffers,
                        DitScratch& scratch,
                        int thread);

// x -= masked for one row.
inline void leave_time_experts(const DitBuffers& buffers, int64_t row, int64_t width) {
  const float* masked = buffers.masked_RD + row * width;
  float* x = buffers.x_RD + row * width;
  for (int64_t i = 0; i < width; ++i) x[i] -= masked[i];
}

}  // namespace ditmoe::networks
