#include "ditmoe/autograd/linear.h"

#include <torch/torch.h>

#include "ditmoe/autograd/gemm.h"

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x_NI,
                            const at::Tensor& w_OI,
                            const c10::optional<at::Tensor>& bias_O) {
    context->save_for_backward({x_NI, w_OI});
    context->saved_data["has_bias"] = bias_O.has_value();
    at::Tensor out_NO = at::empty({x_NI.size(0), w_OI.size(0)}, x_NI.options());
    if (bias_O) out_NO.copy_(bias_O->expand_as(out_NO));
    gemm(Op::kNone, Op::kTranspose, x_NI, w_OI, bias_O ? 1.0F : 0.0F, out_NO);
    return out_NO;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x_NI = saved[0];
    const at::Tensor& w_OI = saved[1];
    const at::Tensor diff_NO = diff_outputs[0].contiguous();
    at::Tensor diff_x_NI;
    if (context->needs_input_grad(0)) {
      diff_x_NI = at::empty_like(x_NI);
      gemm(Op::kNone, Op::kNone, diff_NO, w_OI, 0.0F, diff_x_NI);
    }
    at::Tensor diff_w_OI = at::empty_like(w_OI);
    gemm(Op::kTranspose, Op::kNone, diff_NO, x_NI, 0.0F, diff_w_OI);
    at::Tensor diff_bias_O;
    if (context->saved_data["has_bias"].toBool()) diff_bias_O = diff_NO.sum(0);
    return {diff_x_NI, diff_w_OI, diff_bias_O};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x_NI,
                  const at::Tensor& w_OI,
                  const at::Tensor& bias_O,
                  Kernels kernels) {
  if (kernels == Kernels::kAten || !is_native(x_NI)) return at::linear(x_NI, w_OI, bias_O);
  const auto bias = bias_O.defined() ? c10::make_optional(bias_O) : c10::nullopt;
  return Linear::apply(x_NI.contiguous(), w_OI, bias);
}

}  // namespace ditmoe::autograd
