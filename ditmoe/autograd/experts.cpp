#include "ditmoe/autograd/experts.h"

#include <torch/torch.h>

#include "ditmoe/autograd/gemm.h"
#include "ditmoe/base/error.h"

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor composed_swiglu(const at::Tensor& x_SD, const SwigluWeights& weights) {
  const at::Tensor hidden_SF =
      at::silu(at::linear(x_SD, weights.gate_FD)) * at::linear(x_SD, weights.up_FD);
  return at::linear(hidden_SF, weights.down_DF);
}

// One function for all experts, so that their rows are read and written in place instead of being
// split and concatenated, and the hidden activations of only one expert are alive at a time in
// backward. Kept for backward: the gate and up products; silu is cheaper to redo than to store.
struct GroupedSwiglu : torch::autograd::Function<GroupedSwiglu> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x_SD,
                            const at::Tensor& counts_E,
                            at::TensorList weights) {
    const int64_t rows = x_SD.size(0);
    const int64_t hidden = weights[0].size(0);
    at::Tensor gate_SF = at::empty({rows, hidden}, x_SD.options());
    at::Tensor up_SF = at::empty({rows, hidden}, x_SD.options());
    at::Tensor out_SD = at::empty_like(x_SD);
    const int64_t* counts = counts_E.data_ptr<int64_t>();
    int64_t first = 0;
    for (int64_t e = 0; e < counts_E.size(0); ++e) {
      const at::Tensor x = x_SD.narrow(0, first, counts[e]);
      at::Tensor gate = gate_SF.narrow(0, first, counts[e]);
      at::Tensor up = up_SF.narrow(0, first, counts[e]);
      at::Tensor out = out_SD.narrow(0, first, counts[e]);
      gemm(Op::kNone, Op::kTranspose, x, weights[3 * e], 0.0F, gate);
      gemm(Op::kNone, Op::kTranspose, x, weights[3 * e + 1], 0.0F, up);
      gemm(Op::kNone, Op::kTranspose, at::silu(gate).mul_(up), weights[3 * e + 2], 0.0F, out);
      first += counts[e];
    }
    variable_list saved = {x_SD, counts_E, gate_SF, up_SF};
    saved.insert(saved.end(), weights.begin(), weights.end());
    context->save_for_backward(saved);
    return out_SD;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x_SD = saved[0];
    const at::Tensor& counts_E = saved[1];
    const at::Tensor diff_SD = diff_outputs[0].contiguous();
    at::Tensor diff_x_SD = at::empty_like(x_SD);
    variable_list diffs = {diff_x_SD, {}};
    const int64_t* counts = counts_E.data_ptr<int64_t>();
    int64_t first = 0;
    for (int64_t e = 0; e < counts_E.size(0); ++e) {
      const auto rows = [&](const at::Tensor& all) { return all.narrow(0, first, counts[e]); };
      at::Tensor diff_x = rows(diff_x_SD);
      const auto weights = saved.begin() + 4 + 3 * e;
      const SwigluWeights expert = {weights[0], weights[1], weights[2]};
      const variable_list diff_weights =
          backward_one(rows(x_SD), rows(saved[2]), rows(saved[3]), rows(diff_SD), expert, diff_x);
      diffs.insert(diffs.end(), diff_weights.begin(), diff_weights.end());
      first += counts[e];
    }
    return diffs;
  }

  // Writes diff_x and returns the gradients of gate, up and down.
  static variable_list backward_one(const at::Tensor& x,
                                    const at::Tensor& gate,
                                    const at::Tensor& up,
                                    const at::Tensor& diff,
                                    const SwigluWeights& expert,
                                    at::Tensor& diff_x) {
    const at::Tensor activated = at::silu(gate);
    at::Tensor diff_down_DF = at::empty_like(expert.down_DF);
    gemm(Op::kTranspose, Op::kNone, diff, activated * up, 0.0F, diff_down_DF);
    at::Tensor diff_hidden = at::empty_like(gate);
    gemm(Op::kNone, Op::kNone, diff, expert.down_DF, 0.0F, diff_hidden);
    const at::Tensor diff_gate = at::silu_backward(diff_hidden * up, gate);
    const at::Tensor diff_up = diff_hidden.mul_(activated);
    at::Tensor diff_gate_FD = at::empty_like(expert.gate_FD);
    at::Tensor diff_up_FD = at::empty_like(expert.up_FD);
    gemm(Op::kTranspose, Op::kNone, diff_gate, x, 0.0F, diff_gate_FD);
    gemm(Op::kTranspose, Op::kNone, diff_up, x, 0.0F, diff_up_FD);
    gemm(Op::kNone, Op::kNone, diff_gate, expert.gate_FD, 0.0F, diff_x);
    gemm(Op::kNone, Op::kNone, diff_up, expert.up_FD, 1.0F, diff_x);
    return {diff_gate_FD, diff_up_FD, diff_down_DF};
  }
};

}  // namespace

at::Tensor grouped_swiglu(const at::Tensor& x_SD,
                          const at::Tensor& counts_E,
                          const std::vector<SwigluWeights>& experts,
                          Kernels kernels) {
  DITMOE_ASSERT(static_cast<size_t>(counts_E.size(0)) == experts.size());
  if (kernels == Kernels::kNative && is_native(x_SD)) {
    variable_list weights;
    for (const SwigluWeights& expert : experts) {
      weights.insert(weights.end(), {expert.gate_FD, expert.up_FD, expert.down_DF});
    }
    return GroupedSwiglu::apply(x_SD.contiguous(), counts_E, at::TensorList(weights));
  }
  std::vector<at::Tensor> outputs;
  int64_t first = 0;
  for (size_t e = 0; e < experts.size(); ++e) {
    const int64_t count = counts_E.data_ptr<int64_t>()[e];
    outputs.push_back(composed_swiglu(x_SD.narrow(0, first, count), experts[e]));
    first += count;
  }
  return at::cat(outputs);
}

at::Tensor swiglu(const at::Tensor& x_SD, const SwigluWeights& weights, Kernels kernels) {
  if (kernels == Kernels::kAten || !is_native(x_SD)) return composed_swiglu(x_SD, weights);
  return grouped_swiglu(x_SD, at::full({1}, x_SD.size(0), at::kLong), {weights}, kernels);
}

}  // namespace ditmoe::autograd
