#pragma once

#include <cstdint>

#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/dit_buffers.h"
#include "ditmoe/networks/dit_weights.h"

namespace ditmoe::networks {

// y = down(silu(gate(x)) · up(x)) for one tile of at most kMaxTileRows rows, on the calling thread.
//   x, y [rows, D]; they do not alias
void swiglu_rows(const kernels::Matmul& matmul,
                 const SwigluWeights& weights,
                 const float* x,
                 int64_t rows,
                 DitScratch& scratch,
                 float* y,
                 int thread);

// y = fc2(gelu_tanh(fc1(x))), likewise.
void gelu_rows(const kernels::Matmul& matmul,
               const GeluWeights& weights,
               const float* x,
               int64_t rows,
               DitScratch& scratch,
               float* y,
               int thread);

}  // namespace ditmoe::networks
