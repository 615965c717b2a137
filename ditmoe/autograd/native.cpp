#include "ditmoe/autograd/native.h"

#include <algorithm>

#include <ATen/Parallel.h>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/row_kernels.h"

namespace ditmoe::autograd {
namespace {

// Columns that one thread sums at a time: a cache line of rows.
constexpr int64_t kColumnBlock = 64;

struct Holder : torch::CustomClassHolder {
  explicit Holder(const Engine& the_engine) : engine(the_engine) {}

  Engine engine;
};

template <typename T>
void add_columns(const T* rows, int64_t count, int64_t columns, float* sums) {
  const int64_t blocks = (columns + kColumnBlock - 1) / kColumnBlock;
  parallel(blocks, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kColumnBlock;
    const int64_t last = std::min(columns, end * kColumnBlock);
    for (int64_t row = 0; row < count; ++row) {
      const T* src = rows + row * columns;
      for (int64_t c = first; c < last; ++c) {
        if constexpr (std::is_same_v<T, float>) {
          sums[c] += src[c];
        } else {
          sums[c] += base::to_float(src[c]);
        }
      }
    }
  });
}

}  // namespace

void save_engine(torch::autograd::AutogradContext* context, const Engine& engine) {
  context->saved_data["engine"] = at::IValue::make_capsule(c10::make_intrusive<Holder>(engine));
}

Engine saved_engine(torch::autograd::AutogradContext* context) {
  const auto capsule = context->saved_data["engine"].toCapsule();
  return c10::static_intrusive_pointer_cast<Holder>(capsule)->engine;
}

void parallel(int64_t count, base::FunctionRef<void(int64_t begin, int64_t end)> work) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { work(begin, end); });
}

base::DType dtype_of(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kBFloat16 ? base::DType::kBF16 : base::DType::kF32;
}

at::Tensor to_operand(const at::Tensor& x, at::ScalarType type) {
  const at::Tensor dense = x.contiguous();
  if (dense.scalar_type() == type) return dense;
  if (type != at::kBFloat16) return dense.to(type);
  at::Tensor rounded = at::empty(dense.sizes(), dense.options().dtype(type));
  const float* src = dense.data_ptr<float>();
  auto* dst = data_of<base::BFloat16>(rounded);
  constexpr int64_t kBlock = 4096;
  const int64_t size = dense.numel();
  parallel((size + kBlock - 1) / kBlock, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kBlock;
    store_row(src + first, std::min(size, end * kBlock) - first, dst + first);
  });
  return rounded;
}

void store_row(const float* src, int64_t count, float* dst) { std::copy_n(src, count, dst); }

void store_row(const float* src, int64_t count, base::BFloat16* dst) {
  kernels::row_kernels(base::chosen_isa()).to_bf16(src, count, dst);
}

float* gradient_of(const at::Tensor& leaf) {
  if (!leaf.requires_grad()) return nullptr;
  DITMOE_ASSERT(leaf.is_leaf());
  if (!leaf.grad().defined()) leaf.mutable_grad() = at::zeros_like(leaf.detach());
  DITMOE_ASSERT(leaf.grad().is_contiguous());
  return leaf.grad().data_ptr<float>();
}

void add_column_sums(const at::Tensor& rows, float* sums) {
  with_type(rows.scalar_type(), [&](auto type) {
    using T = decltype(type);
    add_columns(data_of<T>(rows), rows.size(0), rows.size(1), sums);
  });
}

}  // namespace ditmoe::autograd
