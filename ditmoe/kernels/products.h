#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/base/dtype.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/kernels/row_kernels.h"

namespace ditmoe::kernels {

// Linear layers on tiles of rows in one precision: a Matmul with the loops that round what goes
// into it and make numbers of what comes out. Calls compute on their own thread.
class Products {
 public:
  // isa must be one the CPU has.
  Products(int num_threads, Precision precision, base::Isa isa);

  // What weights are stored in.
  Precision precision() const { return precision_; }

  // What the large products compute in, and so the type of activations: precision() where the
  // instruction set has it, else f32.
  Precision computed() const { return matmul_.computed(precision_); }

  const RowKernels& rows() const { return rows_; }

  Matmul& matmul() { return matmul_; }

  const Matmul& matmul() const { return matmul_; }

  // Of products in f32, whatever the precision of the others.
  void linear_f32(const float* x, int64_t rows, const PackedMatrix& w, float* y, int thread) const;

  // y = x W^T + b as floats.
  //   y [rows, outputs]; sums, used by int8 alone, as many
  void linear(const Activations& x,
              int64_t rows,
              const PackedMatrix& w,
              int32_t* sums,
              float* y,
              int thread) const;

  // The same rounded to bfloat16, into rows of y_stride elements.
  //   wide [rows, outputs] numbers of 4 bytes to work in
  void linear_bf16(const Activations& x,
                   int64_t rows,
                   const PackedMatrix& w,
                   void* wide,
                   base::BFloat16* y,
                   int64_t y_stride,
                   int thread) const;

  // hidden = silu(gate) · up, [gate; up] = x W^T, into columns of rows that are hidden.width wide.
  //   W [2 · chunk, inputs]; hidden of float or BFloat16 (int8: BFloat16), column the first to
  //   write wide [rows, 2 · chunk] numbers of 4 bytes to work in
  void swiglu(const Activations& x,
              int64_t rows,
              const PackedMatrix& gate_up,
              void* wide,
              const Activations& hidden,
              int64_t column,
              int thread) const;

  // hidden = gelu_tanh(x W^T + b), likewise.
  void gelu(const Activations& x,
            int64_t rows,
            const PackedMatrix& w,
            void* wide,
            const Activations& hidden,
            int64_t column,
            int thread) const;

 private:
  Precision precision_;
  Matmul matmul_;
  const RowKernels& rows_;
};

}  // namespace ditmoe::kernels
