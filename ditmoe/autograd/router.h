#pragma once

#include <torch/types.h>

#include "ditmoe/autograd/engine.h"
#include "ditmoe/kernels/router.h"

namespace ditmoe::autograd {

struct RouterSettings {
  kernels::RouterScore score = kernels::RouterScore::kSoftmax;
  bool renormalise = false;
  int64_t top_k = 1;
  double balance_factor = 0;
  int64_t pools = 1;  // of the balance loss: so many equal parts of the rows, one after the other
};

struct Routing {
  at::Tensor index_NK;      // i64, sorted within a row
  at::Tensor weight_NK;     // differentiable
  at::Tensor balance_loss;  // a scalar, differentiable
  at::Tensor counts_E;      // i64, how many choices fell on each expert
};

// Chooses experts as kernels::route does. The balance loss is
//   factor · mean over pools of Σ_e f_e · P_e,  f_e = E/(K·T)·#{choices of e}, P_e = mean share
// over the T rows of a pool, a share being the score over the sum of the row's scores.
//   logits_NE f32; bias_E f32 or undefined, without a gradient
Routing route(const Engine& engine,
              const at::Tensor& logits_NE,
              const at::Tensor& bias_E,
              const RouterSettings& settings);

}  // namespace ditmoe::autograd
