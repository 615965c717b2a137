#pragma once

#include <vector>

#include <torch/types.h>

#include "ditmoe/autograd/linear.h"

namespace ditmoe::autograd {

// The three products of one SwiGLU, bias-free: down(silu(gate(x)) · up(x)).
struct SwigluWeights {
  at::Tensor gate_FD;
  at::Tensor up_FD;
  at::Tensor down_DF;
};

// Applies expert e to the rows that belong to it: the first counts_E[0] rows of x_SD are expert
// 0's, the next counts_E[1] expert 1's. An expert without rows gets a gradient of zero.
//   x_SD      [S, D] rows sorted by expert
//   counts_E  [E] i64 on the CPU, summing to S
//   experts   E of equal shape
at::Tensor grouped_swiglu(const at::Tensor& x_SD,
                          const at::Tensor& counts_E,
                          const std::vector<SwigluWeights>& experts,
                          Kernels kernels);

// One expert for all rows.
at::Tensor swiglu(const at::Tensor& x_SD, const SwigluWeights& weights, Kernels kernels);

}  // namespace ditmoe::autograd
