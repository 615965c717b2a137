#pragma once

#include <torch/types.h>

namespace ditmoe::autograd {

// Which implementation runs: the kernels of this folder, or the same function composed of ATen
// operations, which is their oracle in tests and what runs on other devices.
enum class Kernels { kNative, kAten };

// out_NO = x_NI · w_OIᵀ + bias_O. bias may be undefined.
at::Tensor linear(const at::Tensor& x_NI,
                  const at::Tensor& w_OI,
                  const at::Tensor& bias_O,
                  Kernels kernels);

}  // namespace ditmoe::autograd
