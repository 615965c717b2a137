#include "ditmoe/kernels/products.h"

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {

using base::BFloat16;

Products::Products(int num_threads, Precision precision, base::Isa isa)
    : precision_(precision), matmul_(num_threads, isa), rows_(row_kernels(isa)) {}

void Products::linear_f32(
    const float* x, int64_t rows, const PackedMatrix& w, float* y, int thread) const {
  DITMOE_ASSERT(w.precision() == Precision::kF32);
  matmul_.multiply(x, rows, w, y, thread);
}

void Products::linear(const Activations& x,
                      int64_t rows,
                      const PackedMatrix& w,
                      int32_t* sums,
                      float* y,
                      int thread) const {
  if (x.precision != Precision::kInt8) {
    matmul_.multiply(x.values, rows, w, y, thread);
    return;
  }
  const int64_t width = w.outputs();
  matmul_.multiply(x.values, rows, w, sums, thread);
  for (int64_t row = 0; row < rows; ++row) {
    rows_.dequantize(
        sums + row * width, x.scale[row], w.columns(), w.bias(), width, y + row * width);
  }
}

void Products::linear_bf16(const Activations& x,
                           int64_t rows,
                           const PackedMatrix& w,
                           void* wide,
                           BFloat16* y,
                           int64_t y_stride,
                           int thread) const {
  const int64_t width = w.outputs();
  matmul_.multiply(x.values, rows, w, wide, thread);
  for (int64_t row = 0; row < rows; ++row) {
    BFloat16* dst = y + row * y_stride;
    if (x.precision == Precision::kInt8) {
      const int32_t* sums = static_cast<const int32_t*>(wide) + row * width;
      rows_.dequantize_bf16(sums, x.scale[row], w.columns(), w.bias(), width, dst);
    } else {
      rows_.to_bf16(static_cast<const float*>(wide) + row * width, width, dst);
    }
  }
}

void Products::swiglu(const Activations& x,
                      int64_t rows,
                      const PackedMatrix& gate_up,
                      void* wide,
                      const Activations& hidden,
                      int64_t column,
                      int thread) const {
  const int64_t width = gate_up.outputs() / 2;
  const int64_t stride = hidden.width;
  matmul_.multiply(x.values, rows, gate_up, wide, thread);
  if (x.precision == Precision::kInt8) {
    auto* dst = reinterpret_cast<BFloat16*>(hidden.values) + column;
    const auto* sums = static_cast<const int32_t*>(wide);
    rows_.swiglu_int8(sums, rows, width, x.scale, gate_up.columns(), dst, stride);
  } else if (x.precision == Precision::kBf16) {
    auto* dst = reinterpret_cast<BFloat16*>(hidden.values) + column;
    rows_.swiglu_bf16(static_cast<const float*>(wide), rows, width, dst, stride);
  } else {
    auto* dst = reinterpret_cast<float*>(hidden.values) + column;
    rows_.swiglu_f32(static_cast<const float*>(wide), rows, width, dst, stride);
  }
}

void Products::gelu(const Activations& x,
                    int64_t rows,
                    const PackedMatrix& w,
                    void* wide,
                    const Activations& hidden,
                    int64_t column,
                    int thread) const {
  const int64_t width = w.outputs();
  matmul_.multiply(x.values, rows, w, wide, thread);
  for (int64_t row = 0; row < rows; ++row) {
    auto* values = static_cast<float*>(wide) + row * width;
    if (x.precision == Precision::kInt8) {
      const int32_t* sums = static_cast<const int32_t*>(wide) + row * width;
      rows_.dequantize(sums, x.scale[row], w.columns(), w.bias(), width, values);
    }
    const int64_t first = row * hidden.width + column;
    if (x.precision == Precision::kF32) {
      rows_.gelu_f32(values, width, reinterpret_cast<float*>(hidden.values) + first);
    } else {
      rows_.gelu_bf16(values, width, reinterpret_cast<BFloat16*>(hidden.values) + first);
    }
  }
}

}  // namespace ditmoe::kernels
