#pragma once

#include <torch/types.h>

#include "ditmoe/autograd/linear.h"

namespace ditmoe::autograd {

// Who goes where: token n's k-th choice is slot n·K + k; slots are sorted by expert, ties by slot.
struct Dispatch {
  at::Tensor order_S;    // sorted position → slot, S = N·K
  at::Tensor inverse_S;  // slot → sorted position
  at::Tensor counts_E;   // tokens of each expert; i64 on the CPU
  int64_t top_k = 1;
};

// Sorts the choices index_NK (i64, values in [0, experts)) by expert. Stable, so deterministic.
Dispatch make_dispatch(const at::Tensor& index_NK, int64_t experts);

// rows_SD[s] = x_ND[slot(s) / K]: the tokens of expert 0, then of expert 1, and so on.
at::Tensor gather_tokens(const at::Tensor& x_ND, const Dispatch& dispatch, Kernels kernels);

// out_ND[n] = Σ_k weight_NK[n, k] · rows_SD[position of slot n·K + k], summed in slot order.
at::Tensor combine_tokens(const at::Tensor& rows_SD,
                          const at::Tensor& weight_NK,
                          const Dispatch& dispatch,
                          Kernels kernels);

}  // namespace ditmoe::autograd
