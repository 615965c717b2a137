#pragma once

#include <torch/types.h>

namespace ditmoe::autograd {

// Whether an operand is used as stored or transposed.
enum class Op { kNone, kTranspose };

// c = op(a) · op(b) + beta · c, f32, row-major and contiguous on the CPU; shapes [m, k], [k, n],
// [m, n] after op. oneDNN's sgemm on ATen's OpenMP threads: about twice OpenBLAS at the widths
// trained here.
void gemm(Op op_a, Op op_b, const at::Tensor& a, const at::Tensor& b, float beta, at::Tensor& c);

// True where the kernels of this folder apply; elsewhere the ATen composition is used.
bool is_native(const at::Tensor& tensor);

}  // namespace ditmoe::autograd
