#pragma once

#include <memory>

#include <torch/types.h>

#include "ditmoe/base/dtype.h"
#include "ditmoe/kernels/gemm.h"
#include "ditmoe/kernels/precision.h"

namespace ditmoe::autograd {

// Which implementation runs: the kernels of this project, or the same function composed of ATen
// operations, which is their oracle in tests and what runs on other devices.
enum class Kernels { kNative, kAten };

// What the functions of this folder compute with: a handle, whose copies are the same engine;
// graphs keep one. Tensors between functions are f32 but for what comes from linear() with `narrow`
// and from attention() of such, which is bf16. Native functions add the gradients of weights to the
// leaf's grad() directly, so that those need not be made first and added then.
class Engine {
 public:
  // precision: kF32 or kBf16, of the products that do not ask for f32.
  explicit Engine(Kernels kernels = Kernels::kNative,
                  kernels::Precision precision = kernels::Precision::kF32);

  Kernels kernels() const { return kernels_; }

  kernels::Precision precision() const { return precision_; }

  // The type of precision().
  at::ScalarType product_type() const;

  // Whether native kernels take x: a float or bfloat16 tensor on the CPU.
  bool is_native(const at::Tensor& x) const;

  kernels::Gemm& gemm() const { return *gemm_; }

  // half holds flat rounded to bfloat16, and whoever changes one changes the other: weights that
  // lie in flat need not be rounded anew for each product.
  void use_half_weights(const at::Tensor& flat, const at::Tensor& half);

  // A contiguous weight as an operand of that type. keep holds what had to be made for it.
  const void* weight(const at::Tensor& weight, at::ScalarType type, at::Tensor& keep) const;

 private:
  Kernels kernels_;
  kernels::Precision precision_;
  std::shared_ptr<kernels::Gemm> gemm_;
  at::Tensor flat_;
  at::Tensor half_;
};

}  // namespace ditmoe::autograd
