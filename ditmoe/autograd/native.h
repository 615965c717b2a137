#pragma once

#include <torch/torch.h>

#include "ditmoe/autograd/engine.h"
#include "ditmoe/base/dtype.h"
#include "ditmoe/base/function_ref.h"

// What the native functions of this folder share.
namespace ditmoe::autograd {

// Remembers the engine for backward.
void save_engine(torch::autograd::AutogradContext* context, const Engine& engine);
Engine saved_engine(torch::autograd::AutogradContext* context);

// work(begin, end) for ranges of [0, count) on ATen's threads; a range's results must not depend on
// where it begins.
void parallel(int64_t count, base::FunctionRef<void(int64_t begin, int64_t end)> work);

base::DType dtype_of(const at::Tensor& tensor);

template <typename T>
T* data_of(const at::Tensor& tensor) {
  if constexpr (std::is_same_v<T, base::BFloat16>) {
    return reinterpret_cast<base::BFloat16*>(tensor.data_ptr<at::BFloat16>());
  } else {
    return tensor.data_ptr<T>();
  }
}

// Calls work(T{}) with T float or BFloat16, as the type says.
template <typename Work>
void with_type(at::ScalarType type, const Work& work) {
  if (type == at::kBFloat16) {
    work(base::BFloat16{});
  } else {
    work(float{});
  }
}

// x, contiguous, as that type: itself where it is, else rounded.
at::Tensor to_operand(const at::Tensor& x, at::ScalarType type);

// dst[i] = src[i] in T: rounded if it is narrower.
void store_row(const float* src, int64_t count, float* dst);
void store_row(const float* src, int64_t count, base::BFloat16* dst);

// Where the gradient of a leaf is added to; made of zeros where there is none. nullptr where none
// is wanted.
float* gradient_of(const at::Tensor& leaf);

// sums[c] += sum over r of rows[r, c] for rows [count, columns].
void add_column_sums(const at::Tensor& rows, float* sums);

}  // namespace ditmoe::autograd
