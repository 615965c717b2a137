#include "ditmoe/autograd/permute.h"

#include <torch/torch.h>

namespace ditmoe::autograd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor unsort(const at::Tensor& rows_SD, const at::Tensor& inverse_S, int64_t top_k) {
  return rows_SD.index_select(0, inverse_S).view({-1, top_k, rows_SD.size(1)});
}

// The gradient of a gather is a scatter-add, slow and unordered in general; a permutation's is
// again a gather, which is why these two are not left to ATen.
struct GatherTokens : torch::autograd::Function<GatherTokens> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& x_ND,
                            const at::Tensor& order_S,
                            const at::Tensor& inverse_S,
                            int64_t top_k) {
    context->save_for_backward({inverse_S});
    context->saved_data["top_k"] = top_k;
    return x_ND.index_select(0, order_S.div(top_k, "floor"));
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const at::Tensor inverse_S = context->get_saved_variables()[0];
    const int64_t top_k = context->saved_data["top_k"].toInt();
    return {unsort(diff_outputs[0], inverse_S, top_k).sum(1), {}, {}, {}};
  }
};

struct CombineTokens : torch::autograd::Function<CombineTokens> {
  static at::Tensor forward(AutogradContext* context,
                            const at::Tensor& rows_SD,
                            const at::Tensor& weight_NK,
                            const at::Tensor& order_S,
                            const at::Tensor& inverse_S) {
    context->save_for_backward({rows_SD, weight_NK, order_S, inverse_S});
    return (unsort(rows_SD, inverse_S, weight_NK.size(1)) * weight_NK.unsqueeze(-1)).sum(1);
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& rows_SD = saved[0];
    const at::Tensor& weight_NK = saved[1];
    const at::Tensor& order_S = saved[2];
    const at::Tensor& inverse_S = saved[3];
    const int64_t top_k = weight_NK.size(1);
    const at::Tensor diff_sorted_SD = diff_outputs[0].index_select(0, order_S.div(top_k, "floor"));
    const at::Tensor weight_S1 = weight_NK.reshape({-1, 1}).index_select(0, order_S);
    const at::Tensor diff_weight_NK =
        (diff_sorted_SD * rows_SD).sum(1).index_select(0, inverse_S).view_as(weight_NK);
    return {diff_sorted_SD * weight_S1, diff_weight_NK, {}, {}};
  }
};

}  // namespace

Dispatch make_dispatch(const at::Tensor& index_NK, int64_t experts) {
  const at::Tensor slots_S = index_NK.reshape({-1});
  Dispatch dispatch;
  dispatch.top_k = index_NK.size(1);
  dispatch.order_S = at::argsort(slots_S, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  dispatch.inverse_S = at::empty_like(dispatch.order_S);
  dispatch.inverse_S.scatter_(0, dispatch.order_S, at::arange(slots_S.size(0), slots_S.options()));
  dispatch.counts_E = at::bincount(slots_S, /*weights=*/{}, experts).to(at::kCPU);
  return dispatch;
}

at::Tensor gather_tokens(const at::Tensor& x_ND, const Dispatch& dispatch, Kernels kernels) {
  if (kernels == Kernels::kAten) {
    return x_ND.index_select(0, dispatch.order_S.div(dispatch.top_k, "floor"));
  }
  return GatherTokens::apply(x_ND, dispatch.order_S, dispatch.inverse_S, dispatch.top_k);
}

at::Tensor combine_tokens(const at::Tensor& rows_SD,
                          const at::Tensor& weight_NK,
                          const Dispatch& dispatch,
                          Kernels kernels) {
  if (kernels == Kernels::kAten) {
    const at::Tensor rows_NKD = unsort(rows_SD, dispatch.inverse_S, dispatch.top_k);
    return (rows_NKD * weight_NK.unsqueeze(-1)).sum(1);
  }
  return CombineTokens::apply(rows_SD, weight_NK, dispatch.order_S, dispatch.inverse_S);
}

}  // namespace ditmoe::autograd
