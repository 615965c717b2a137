#include "ditmoe/autograd/gemm.h"

#include <dnnl.h>

#include "ditmoe/base/error.h"

namespace ditmoe::autograd {

void gemm(Op op_a, Op op_b, const at::Tensor& a, const at::Tensor& b, float beta, at::Tensor& c) {
  const int64_t m = c.size(0);
  const int64_t n = c.size(1);
  const int64_t k = op_a == Op::kNone ? a.size(1) : a.size(0);
  DITMOE_ASSERT(a.is_contiguous() && b.is_contiguous() && c.is_contiguous());
  DITMOE_ASSERT(a.numel() == m * k && b.numel() == k * n);
  if (c.numel() == 0) return;
  if (k == 0) {
    beta == 0.0F ? c.zero_() : c.mul_(beta);  // c may be uninitialised: 0 · NaN is NaN
    return;
  }
  const dnnl_status_t status = dnnl_sgemm(op_a == Op::kNone ? 'N' : 'T',
                                          op_b == Op::kNone ? 'N' : 'T',
                                          m,
                                          n,
                                          k,
                                          1.0F,
                                          a.data_ptr<float>(),
                                          a.size(1),
                                          b.data_ptr<float>(),
                                          b.size(1),
                                          beta,
                                          c.data_ptr<float>(),
                                          n);
  if (status != dnnl_success) base::failure("[gemm] oneDNN refused m={} n={} k={}", m, n, k);
}

bool is_native(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat;
}

}  // namespace ditmoe::autograd
