#include "ditmoe/autograd/linear.h"

#include <torch/torch.h>

#include "ditmoe/autograd/native.h"

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context,
                            const Engine& engine,
                            const at::Tensor& x_NI,
                            const at::Tensor& w_OI,
                            const c10::optional<at::Tensor>& bias_O,
                            at::ScalarType operands,
                            at::ScalarType result) {
    save_engine(context, engine);
    const at::Tensor rounded_NI = to_operand(x_NI, operands);
    variable_list saved = {rounded_NI, w_OI};
    if (bias_O) saved.push_back(*bias_O);
    context->save_for_backward(saved);
    context->saved_data["x_is_narrow"] = x_NI.scalar_type() == at::kBFloat16;
    const int64_t rows = x_NI.size(0);
    at::Tensor out_NO = at::empty({rows, w_OI.size(0)}, x_NI.options().dtype(result));
    kernels::GemmShape shape{
        .rows = rows, .columns = w_OI.size(0), .inner = w_OI.size(1), .transposed_b = true};
    shape.operands = dtype_of(rounded_NI);
    shape.result = dtype_of(out_NO);
    shape.bias = bias_O.has_value();
    at::Tensor keep;
    engine.gemm().run(shape,
                      rounded_NI.data_ptr(),
                      engine.weight(w_OI, operands, keep),
                      out_NO.data_ptr(),
                      bias_O ? bias_O->data_ptr<float>() : nullptr);
    return out_NO;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const Engine engine = saved_engine(context);
    const auto saved = context->get_saved_variables();
    const at::Tensor& x_NI = saved[0];
    const at::Tensor& w_OI = saved[1];
    const at::Tensor dout_NO = to_operand(diff_outputs[0], x_NI.scalar_type());
    at::Tensor dx_NI;
    if (context->needs_input_grad(0)) {
      const bool narrow = context->saved_data["x_is_narrow"].toBool();
      dx_NI = at::empty(x_NI.sizes(), x_NI.options().dtype(narrow ? at::kBFloat16 : at::kFloat));
      kernels::GemmShape shape{
          .rows = x_NI.size(0), .columns = w_OI.size(1), .inner = w_OI.size(0)};
      shape.operands = dtype_of(x_NI);
      shape.result = dtype_of(dx_NI);
      at::Tensor keep;
      engine.gemm().run(shape,
                        dout_NO.data_ptr(),
                        engine.weight(w_OI, x_NI.scalar_type(), keep),
                        dx_NI.data_ptr());
    }
    if (float* dw_OI = gradient_of(w_OI)) {
      kernels::GemmShape shape{.rows = w_OI.size(0),
                               .columns = w_OI.size(1),
                               .inner = x_NI.size(0),
                               .transposed_a = true};
      shape.operands = dtype_of(x_NI);
      shape.accumulate = true;
      engine.gemm().run(shape, dout_NO.data_ptr(), x_NI.data_ptr(), dw_OI);
    }
    if (saved.size() > 2) {
      if (float* dbias = gradient_of(saved[2])) {
        add_column_sums(diff_outputs[0].contiguous(), dbias);
      }
    }
    return {{}, dx_NI, {}, {}, {}, {}};
  }
};

at::Tensor composed(const at::Tensor& x_NI,
                    const at::Tensor& w_OI,
                    const at::Tensor& bias_O,
                    LinearTypes types) {
  if (types.precision != kernels::Precision::kBf16) return at::linear(x_NI, w_OI, bias_O);
  const auto round = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.to(at::kBFloat16) : tensor;
  };
  const at::Tensor out_NO = at::linear(round(x_NI), round(w_OI), round(bias_O));
  return types.narrow ? out_NO : out_NO.to(at::kFloat);
}

}  // namespace

at::Tensor linear(const Engine& engine,
                  const at::Tensor& x_NI,
                  const at::Tensor& w_OI,
                  const at::Tensor& bias_O,
                  LinearTypes types) {
  if (!engine.is_native(x_NI)) return composed(x_NI, w_OI, bias_O, types);
  const auto bias = bias_O.defined() ? c10::make_optional(bias_O) : c10::nullopt;
  const auto operands = types.precision == kernels::Precision::kBf16 ? at::kBFloat16 : at::kFloat;
  return Linear::apply(engine, x_NI, w_OI, bias, operands, types.narrow ? operands : at::kFloat);
}

}  // namespace ditmoe::autograd
