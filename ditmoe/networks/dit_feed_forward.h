#pragma once

#include <cstdint>

#include "ditmoe/kernels/products.h"
#include "ditmoe/networks/dit_buffers.h"
#include "ditmoe/networks/dit_weights.h"
#include "ditmoe/networks/profile.h"

namespace ditmoe::networks {

// y = down(silu(gate(x)) · up(x)) for one tile of at most kMaxTileRows rows, on the calling thread.
//   x [rows, D] as products take it, y [rows, D]; they do not alias
// Tells lap where the first half (Op::kGateUp) and the second (Op::kDown) end.
void swiglu_rows(const kernels::Products& products,
                 const SwigluWeights& weights,
                 const kernels::Activations& x,
                 int64_t rows,
                 DitScratch& scratch,
                 float* y,
                 int thread,
                 Lap& lap);

// y = fc2(gelu_tanh(fc1(x))), likewise.
void gelu_rows(const kernels::Products& products,
               const GeluWeights& weights,
               const kernels::Activations& x,
               int64_t rows,
               DitScratch& scratch,
               float* y,
               int thread,
               Lap& lap);

}  // namespace ditmoe::networks
