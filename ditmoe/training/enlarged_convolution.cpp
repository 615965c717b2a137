#include "ditmoe/training/enlarged_convolution.h"

#include <tuple>
#include <vector>

#include <torch/torch.h>

#include "ditmoe/base/error.h"

namespace ditmoe::training {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

// The gradient of a convolution with stride 2 by its source, as a function of its own: what
// deep-learning libraries call a transposed convolution. torch 1.13's own on bfloat16 gives results
// of wrong sizes.
const std::vector<int64_t> kStride = {2, 2};
const std::vector<int64_t> kPadding = {1, 1};
const std::vector<int64_t> kDilation = {1, 1};
const std::vector<int64_t> kNoPadding = {0, 0};

// Gradients of y = convolution(x, weight) by x and by weight, each where asked for.
std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_gradients(const at::Tensor& dy,
                                                                     const at::Tensor& x,
                                                                     const at::Tensor& weight,
                                                                     bool by_x,
                                                                     bool by_weight) {
  return at::convolution_backward(dy,
                                  x,
                                  weight,
                                  c10::nullopt,
                                  kStride,
                                  kPadding,
                                  kDilation,
                                  /*transposed=*/false,
                                  kNoPadding,
                                  /*groups=*/1,
                                  {by_x, by_weight, false});
}

struct TransposedConvolution : torch::autograd::Function<TransposedConvolution> {
  // x [B, C, H, W], weight [C, O, 4, 4] and bias [O] of its type → [B, O, 2H, 2W].
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x,
                            const at::Tensor& weight,
                            const at::Tensor& bias) {
    context->save_for_backward({x, weight});
    const at::Tensor shape = at::empty({x.size(0), weight.size(1), 2 * x.size(2), 2 * x.size(3)},
                                       x.options(),
                                       at::MemoryFormat::ChannelsLast);
    return std::get<0>(convolution_gradients(x, shape, weight, true, false))
        .add_(bias.view({1, -1, 1, 1}));
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor dy = channels_last(diff_outputs[0]);
    return {at::conv2d(dy, saved[1], {}, kStride, kPadding),
            std::get<1>(convolution_gradients(saved[0], dy, saved[1], false, true)),
            dy.sum({0, 2, 3})};
  }
};

// Which of three weights in a row come together in each of four: those that meet the same pixel of
// the source, one where the row of four begins or ends.
at::Tensor sums_of_three() {
  return at::tensor({0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0}, at::kFloat).view({4, 3});
}

}  // namespace

at::Tensor enlarged_convolution(const at::Tensor& x,
                                const at::Tensor& weight,
                                const at::Tensor& bias) {
  DITMOE_ASSERT(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3);
  const at::Tensor sums = sums_of_three();
  // [C, O, 3, 3] → [C, O, 4, 4]
  const at::Tensor wide = at::matmul(at::matmul(sums, weight.transpose(0, 1)), sums.t());
  return TransposedConvolution::apply(
      channels_last(x), wide.to(x.scalar_type()), bias.to(x.scalar_type()));
}

}  // namespace ditmoe::training
