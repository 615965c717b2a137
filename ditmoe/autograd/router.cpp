#include "ditmoe/autograd/router.h"

#include <vector>

#include <torch/torch.h>

#include "ditmoe/autograd/native.h"

namespace ditmoe::autograd {
namespace {

using kernels::RouterScore;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// f_e of each pool, [P, E].
at::Tensor choice_fractions(const at::Tensor& index_NK, int64_t experts, int64_t pools) {
  const int64_t choices = index_NK.numel() / pools;
  at::Tensor fraction_PE = at::zeros({pools, experts}, at::kFloat);
  const int64_t* index = index_NK.data_ptr<int64_t>();
  auto* fraction = fraction_PE.data_ptr<float>();
  for (int64_t pool = 0; pool < pools; ++pool) {
    for (int64_t i = pool * choices; i < (pool + 1) * choices; ++i) {
      fraction[pool * experts + index[i]] += 1.0F;
    }
  }
  return fraction_PE.mul_(static_cast<double>(experts) / static_cast<double>(choices));
}

// Of all rows; the gradients of weight and balance loss meet here.
struct Route : torch::autograd::Function<Route> {
  static variable_list forward(AutogradContext* context,
                               const at::Tensor& logits_NE,
                               const c10::optional<at::Tensor>& bias_E,
                               const RouterSettings& settings) {
    const int64_t rows = logits_NE.size(0);
    const int64_t experts = logits_NE.size(1);
    const int64_t top_k = settings.top_k;
    const kernels::RouterRule rule{
        settings.score, settings.renormalise, bias_E ? bias_E->data_ptr<float>() : nullptr};
    at::Tensor scores_NE = at::empty_like(logits_NE);
    at::Tensor index_NK = at::empty({rows, top_k}, at::kLong);
    at::Tensor weight_NK = at::empty({rows, top_k}, at::kFloat);
    const float* logits = logits_NE.data_ptr<float>();
    auto* scores = scores_NE.data_ptr<float>();
    auto* index = index_NK.data_ptr<int64_t>();
    auto* weight = weight_NK.data_ptr<float>();
    parallel(rows, [&](int64_t begin, int64_t end) {
      std::vector<float> workspace(static_cast<size_t>(2 * experts));
      std::vector<int32_t> chosen(static_cast<size_t>(top_k));
      for (int64_t row = begin; row < end; ++row) {
        kernels::route(logits + row * experts,
                       1,
                       experts,
                       rule,
                       top_k,
                       workspace.data(),
                       chosen.data(),
                       weight + row * top_k);
        std::copy_n(workspace.data(), experts, scores + row * experts);
        std::copy(chosen.begin(), chosen.end(), index + row * top_k);
      }
    });
    const at::Tensor fraction_PE = choice_fractions(index_NK, experts, settings.pools);
    context->save_for_backward({scores_NE, index_NK, weight_NK, fraction_PE});
    context->saved_data["sigmoid"] = settings.score == RouterScore::kSigmoid;
    context->saved_data["renormalise"] = settings.renormalise;
    context->saved_data["factor"] = settings.balance_factor;
    context->mark_non_differentiable({index_NK});
    return {index_NK, weight_NK, balance(scores_NE, fraction_PE, settings)};
  }

  static at::Tensor balance(const at::Tensor& scores_NE,
                            const at::Tensor& fraction_PE,
                            const RouterSettings& settings) {
    const at::Tensor share_NE = settings.score == RouterScore::kSoftmax
                                    ? scores_NE
                                    : scores_NE / scores_NE.sum(1, /*keepdim=*/true);
    const at::Tensor mean_PE = share_NE.view({settings.pools, -1, scores_NE.size(1)}).mean(1);
    return (fraction_PE * mean_PE).sum(1).mean() * settings.balance_factor;
  }

  static variable_list backward(AutogradContext* context, const variable_list& diff_outputs) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& scores_NE = saved[0];
    const at::Tensor& index_NK = saved[1];
    const int64_t rows = scores_NE.size(0);
    const int64_t experts = scores_NE.size(1);
    const int64_t top_k = index_NK.size(1);
    const int64_t pools = saved[3].size(0);
    kernels::RouterRule rule;
    rule.score =
        context->saved_data["sigmoid"].toBool() ? RouterScore::kSigmoid : RouterScore::kSoftmax;
    rule.renormalise = context->saved_data["renormalise"].toBool();
    const at::Tensor dweight_NK = diff_outputs[1].contiguous();
    const double dbalance = diff_outputs[2].item<double>() *
                            context->saved_data["factor"].toDouble() / static_cast<double>(rows);
    const at::Tensor dshare_PE = (saved[3] * dbalance).contiguous();  // P tokens a pool: 1/(P·T)
    at::Tensor dlogits_NE = at::empty_like(scores_NE);
    const float* scores = scores_NE.data_ptr<float>();
    const int64_t* index = index_NK.data_ptr<int64_t>();
    const float* weight = saved[2].data_ptr<float>();
    const float* dweight = dweight_NK.data_ptr<float>();
    const float* dshare = dshare_PE.data_ptr<float>();
    auto* dlogits = dlogits_NE.data_ptr<float>();
    parallel(rows, [&](int64_t begin, int64_t end) {
      std::vector<int32_t> chosen(static_cast<size_t>(top_k));
      for (int64_t row = begin; row < end; ++row) {
        std::copy_n(index + row * top_k, top_k, chosen.begin());
        kernels::route_backward(scores + row * experts,
                                experts,
                                rule,
                                top_k,
                                chosen.data(),
                                weight + row * top_k,
                                dweight + row * top_k,
                                dshare + row / (rows / pools) * experts,
                                dlogits + row * experts);
      }
    });
    return {dlogits_NE, {}, {}};
  }
};

// The same of ATen's operations.
Routing composed(const at::Tensor& logits_NE,
                 const at::Tensor& bias_E,
                 const RouterSettings& settings) {
  const bool is_softmax = settings.score == RouterScore::kSoftmax;
  const at::Tensor scores_NE = is_softmax ? at::softmax(logits_NE, -1) : at::sigmoid(logits_NE);
  const at::Tensor rank_NE =
      bias_E.defined() ? scores_NE.detach() + bias_E.detach() : scores_NE.detach();
  const auto sorted = at::sort(rank_NE, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  Routing routing;
  const at::Tensor best_NK = std::get<1>(sorted).narrow(1, 0, settings.top_k);
  routing.index_NK = std::get<0>(at::sort(best_NK, -1)).contiguous();
  routing.weight_NK = scores_NE.gather(1, routing.index_NK);
  if (settings.renormalise) {
    routing.weight_NK = routing.weight_NK / routing.weight_NK.sum(1, /*keepdim=*/true);
  }
  const int64_t experts = logits_NE.size(1);
  const at::Tensor share_NE =
      is_softmax ? scores_NE : scores_NE / scores_NE.sum(1, /*keepdim=*/true);
  const at::Tensor chosen_NE =
      at::zeros_like(scores_NE.detach()).scatter_(1, routing.index_NK, 1.0);
  const double scale = static_cast<double>(experts) / static_cast<double>(settings.top_k);
  const at::Tensor fraction_PE = chosen_NE.view({settings.pools, -1, experts}).mean(1) * scale;
  const at::Tensor mean_PE = share_NE.view({settings.pools, -1, experts}).mean(1);
  routing.balance_loss = (fraction_PE * mean_PE).sum(1).mean() * settings.balance_factor;
  return routing;
}

}  // namespace

Routing route(const Engine& engine,
              const at::Tensor& logits_NE,
              const at::Tensor& bias_E,
              const RouterSettings& settings) {
  Routing routing;
  if (engine.is_native(logits_NE)) {
    const auto bias = bias_E.defined() ? c10::make_optional(bias_E.detach()) : c10::nullopt;
    const variable_list outputs = Route::apply(logits_NE.contiguous(), bias, settings);
    routing = {outputs[0], outputs[1], outputs[2], {}};
  } else {
    routing = composed(logits_NE, bias_E, settings);
  }
  routing.counts_E =
      at::bincount(routing.index_NK.reshape({-1}), /*weights=*/{}, logits_NE.size(1)).to(at::kCPU);
  return routing;
}

}  // namespace ditmoe::autograd
