#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/cpu.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/kernels/row_kernels.h"
#include "ditmoe/kernels/tiles.h"

namespace ditmoe::kernels {

struct ProductShape;

// The right-hand side of a product, in the layout this CPU multiplies fastest. Refers to memory of
// an arena that must outlive it.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  int64_t inputs() const { return inputs_; }

  int64_t outputs() const { return outputs_; }

  Precision precision() const { return precision_; }

  // f32, added to each row; nullptr without one.
  const float* bias() const { return bias_; }

  // What the sums of an int8 product become numbers by.
  const QuantizedColumns& columns() const { return columns_; }

  // The weights have moved: what stood at `from` is now at `to`.
  void rebase(const std::byte* from, const std::byte* to) { weights_ = to + (weights_ - from); }

 private:
  friend class Matmul;

  int64_t inputs_ = 0;
  int64_t outputs_ = 0;
  Precision precision_ = Precision::kF32;
  ProductShape* shape_ = nullptr;  // owned by the Matmul that packed it
  const std::byte* weights_ = nullptr;
  const float* bias_ = nullptr;
  QuantizedColumns columns_;
};

// Weights as a packed file has them: in the layout of blocked_layout.h. Memory of somebody else.
struct BlockedMatrix {
  const std::byte* data = nullptr;
  Precision precision = Precision::kF32;
  int64_t outputs = 0;
  int64_t inputs = 0;
  const float* bias = nullptr;
  QuantizedColumns columns;  // of int8
};

// Products y = x W^T + b, as a linear layer has them, on oneDNN where its AVX-512 code runs and
// else by panel_matmul. Each call computes on its own thread; calls on different threads may run at
// once. One object per executor: it holds what oneDNN compiled. Row r of y depends on row r of x
// alone, bit for bit, however many rows there are.
class Matmul {
 public:
  // Threads that will call multiply, numbered from 0. isa must be one the CPU has.
  explicit Matmul(int num_threads, base::Isa isa = base::chosen_isa());
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // The precision that products of weights in `wanted` are computed in here: the same where the
  // instruction set has it, else kF32, for which weights are widened as they are used.
  Precision computed(Precision wanted) const;

  // Packs W [outputs, inputs], of F32 or BF16, and b [outputs], which may be nullptr, into arena.
  // Threads may pack at once.
  PackedMatrix pack(const base::TensorView& weight,
                    const float* bias,
                    Precision precision,
                    base::Arena& arena);

  // Takes stored weights where they are, if that is the layout this CPU multiplies by; else repacks
  // them into arena. What `stored` points to must outlive the result. Threads may adopt at once.
  PackedMatrix adopt(const BlockedMatrix& stored, base::Arena& arena);

  // Whether adopt takes weights of a precision where they are.
  bool adopts_in_place(Precision precision);

  // y = x W^T + b; of int8 the sums alone, see QuantizedColumns.
  //   x [rows, inputs] float, BFloat16 or uint8_t (value + 128), as computed(precision) has them
  //   y [rows, outputs] float, or int32_t for int8
  // Both dense, without alias; any number of rows.
  void multiply(const void* x, int64_t rows, const PackedMatrix& w, void* y, int thread) const;

  // Name of the code that multiplies by w: oneDNN's ("brg:avx512_core"), or "panels:avx2" for ours.
  static std::string implementation(const PackedMatrix& w);

  // Compiles what multiply needs for 1 to max_rows rows (at most kMaxTileRows), which otherwise
  // happens when a number of rows first occurs.
  void compile(const PackedMatrix& w, int64_t max_rows) const;

 private:
  struct Threads;

  // Brings W [outputs, inputs] of F32, BF16 or I8 into the layout of the matrix's product.
  void place(const void* weight, base::DType dtype, base::Arena& arena, PackedMatrix& matrix);
  ProductShape& shape_of(int64_t outputs, int64_t inputs, bool bias, Precision precision);

  std::unique_ptr<Threads> threads_;
  std::array<bool, 3> by_onednn_ = {};  // whether a precision's products are oneDNN's
};

}  // namespace ditmoe::kernels
