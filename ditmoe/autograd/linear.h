#pragma once

#include <torch/types.h>

#include "ditmoe/autograd/engine.h"

namespace ditmoe::autograd {

// How one linear layer computes.
struct LinearTypes {
  kernels::Precision precision = kernels::Precision::kF32;  // what operands are rounded to
  bool narrow = false;  // whether the result is of that type too, or f32
};

// out_NO = x_NI · w_OIᵀ + bias_O. bias may be undefined; w and bias are leaves or need no gradient.
at::Tensor linear(const Engine& engine,
                  const at::Tensor& x_NI,
                  const at::Tensor& w_OI,
                  const at::Tensor& bias_O,
                  LinearTypes types = {});

}  // namespace ditmoe::autograd
