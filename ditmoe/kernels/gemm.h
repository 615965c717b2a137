#pragma once

#include <cstdint>
#include <memory>

#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels {

// One product C = A B, or C += A B, of matrices whose rows lie one behind the other.
struct GemmShape {
  int64_t rows = 0;                          // of A and C
  int64_t columns = 0;                       // of B and C
  int64_t inner = 0;                         // columns of A, rows of B
  bool transposed_a = false;                 // A is stored as [inner, rows]
  bool transposed_b = false;                 // B is stored as [columns, inner], as weights are
  base::DType operands = base::DType::kF32;  // of A and B: F32 or BF16
  base::DType result = base::DType::kF32;    // of C: F32, or BF16 if A and B are
  bool accumulate = false;                   // add to C, which is then F32
  bool bias = false;                         // add a row of F32 to each row of A B

  bool operator==(const GemmShape&) const = default;
};

// The products of training, where weights change with every step, so that packing them (Matmul)
// would not pay: oneDNN's on plain matrices, compiled once for each shape. Sums are f32. Called
// outside of a parallel region, a product takes the threads of OpenMP's setting, inside of one the
// calling thread alone; calls of one region may run at once. The same operands and number of
// threads give the same bits. Where the CPU has no products of bfloat16, operands are widened.
class Gemm {
 public:
  Gemm();
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  // a, b and c do not alias. An empty sum (inner = 0) is zero. bias: [columns] if the shape has it.
  void run(
      const GemmShape& shape, const void* a, const void* b, void* c, const float* bias = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ditmoe::kernels
