#pragma once

#include <torch/types.h>

#include "ditmoe/autograd/engine.h"

namespace ditmoe::autograd {

// SwiGLU layers down(silu(gate(x)) · up(x)) without biases, one after the other in one leaf: of
// each the gate [F, D], up [F, D] and down [D, F] weights.
struct SwigluWeights {
  at::Tensor flat;     // [E · 3 · F · D]
  int64_t width = 0;   // D
  int64_t hidden = 0;  // F

  int64_t count() const { return flat.numel() / (3 * width * hidden); }
};

// out_ND[n] = Σ_k weight_NK[n, k] · swiglu_e(x_ND[n]) with e = index_NK[n, k], summed in that
// order, in f32. Products in the engine's precision: x, the gate and up values, the hidden ones and
// all of their gradients are rounded to it.
//   x_ND f32; index_NK i64 in [0, E), sorted in each row or not; weight_NK f32
at::Tensor routed_swiglu(const Engine& engine,
                         const at::Tensor& x_ND,
                         const at::Tensor& index_NK,
                         const at::Tensor& weight_NK,
                         const SwigluWeights& experts);

// The one layer of weights for all rows.
at::Tensor swiglu(const Engine& engine, const at::Tensor& x_ND, const SwigluWeights& weights);

}  // namespace ditmoe::autograd
