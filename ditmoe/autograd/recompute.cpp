#include "ditmoe/autograd/recompute.h"

#include <torch/torch.h>

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Body : torch::CustomClassHolder {
  explicit Body(Recomputable the_body) : run(std::move(the_body)) {}

  Recomputable run;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static variable_list forward(AutogradContext* context,
                               const c10::intrusive_ptr<Body>& body,
                               at::TensorList inputs) {
    context->saved_data["body"] = at::IValue::make_capsule(body);
    context->save_for_backward(inputs.vec());
    return body->run(inputs.vec(), /*again=*/false);
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto body =
        c10::static_intrusive_pointer_cast<Body>(context->saved_data["body"].toCapsule());
    variable_list inputs;
    for (const at::Tensor& saved : context->get_saved_variables()) {
      inputs.push_back(saved.detach().requires_grad_(saved.requires_grad()));
    }
    const torch::AutoGradMode with_gradients(true);
    const variable_list outputs = body->run(inputs, /*again=*/true);
    torch::autograd::backward(outputs, diff_outputs);
    variable_list diffs = {{}};
    for (const at::Tensor& input : inputs) diffs.push_back(input.grad());
    return diffs;
  }
};

}  // namespace

std::vector<at::Tensor> recompute(const Recomputable& body, const std::vector<at::Tensor>& inputs) {
  return Recompute::apply(c10::make_intrusive<Body>(body), at::TensorList(inputs));
}

}  // namespace ditmoe::autograd
