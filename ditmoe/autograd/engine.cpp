#include "ditmoe/autograd/engine.h"

#include "ditmoe/autograd/native.h"
#include "ditmoe/base/error.h"

namespace ditmoe::autograd {

Engine::Engine(Kernels kernels, kernels::Precision precision)
    : kernels_(kernels), precision_(precision), gemm_(std::make_shared<kernels::Gemm>()) {
  DITMOE_ASSERT(precision != kernels::Precision::kInt8);
}

at::ScalarType Engine::product_type() const {
  return precision_ == kernels::Precision::kBf16 ? at::kBFloat16 : at::kFloat;
}

bool Engine::is_native(const at::Tensor& x) const {
  const bool has_type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  return kernels_ == Kernels::kNative && x.is_cpu() && has_type;
}

void Engine::use_half_weights(const at::Tensor& flat, const at::Tensor& half) {
  DITMOE_ASSERT(flat.is_contiguous() && half.is_contiguous() && flat.numel() == half.numel());
  flat_ = flat;
  half_ = half;
}

const void* Engine::weight(const at::Tensor& weight, at::ScalarType type, at::Tensor& keep) const {
  DITMOE_ASSERT(weight.is_contiguous() && weight.scalar_type() == at::kFloat);
  const float* data = weight.data_ptr<float>();
  if (type == at::kFloat) return data;
  if (half_.defined()) {
    const float* first = flat_.data_ptr<float>();
    if (data >= first && data + weight.numel() <= first + flat_.numel()) {
      return half_.data_ptr<at::BFloat16>() + (data - first);
    }
  }
  keep = to_operand(weight.detach(), type);
  return keep.data_ptr();
}

}  // namespace ditmoe::autograd
