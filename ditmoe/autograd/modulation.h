#pragma once

#include <torch/types.h>

#include "ditmoe/autograd/engine.h"

// Adaptive LayerNorm (adaLN-zero, Peebles and Xie, arXiv 2212.09748): each image has a shift, a
// scale and a gate of [B, D], whose rows may lie apart. x_ND and update_ND [B·T, D], f32.
namespace ditmoe::autograd {

// norm(x)·(1 + scale) + shift, the LayerNorm (eps 1e-6) without weights.
at::Tensor norm_modulate(const Engine& engine,
                         const at::Tensor& x_ND,
                         const at::Tensor& shift_BD,
                         const at::Tensor& scale_BD);

// x + gate·update.
at::Tensor gated_residual(const Engine& engine,
                          const at::Tensor& x_ND,
                          const at::Tensor& gate_BD,
                          const at::Tensor& update_ND);

}  // namespace ditmoe::autograd
