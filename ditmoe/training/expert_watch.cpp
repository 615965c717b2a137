#include "ditmoe/training/expert_watch.h"

#include <torch/torch.h>

#include "ditmoe/base/log.h"

namespace ditmoe::training {
namespace {

constexpr double kIdleLoad = 0.01;
constexpr int64_t kIdleWindows = 3;

}  // namespace

void ExpertWatch::add(const at::Tensor& counts_LE) {
  counts_LE_ = empty() ? counts_LE : counts_LE_ + counts_LE;
}

at::Tensor ExpertWatch::loads() const {
  const at::Tensor counts_LE = counts_LE_.to(at::kDouble);
  return counts_LE / counts_LE.mean(1, /*keepdim=*/true);
}

void ExpertWatch::next_window() {
  if (empty()) return;
  const at::Tensor loads_LE = loads().contiguous();
  const int64_t experts = loads_LE.size(1);
  idle_windows_.resize(static_cast<size_t>(loads_LE.numel()));
  for (int64_t i = 0; i < loads_LE.numel(); ++i) {
    int64_t& idle = idle_windows_[static_cast<size_t>(i)];
    idle = loads_LE.data_ptr<double>()[i] < kIdleLoad ? idle + 1 : 0;
    if (idle != kIdleWindows) continue;
    base::log_warning(
        "expert {} of MoE block {} has had next to no tokens for {} log lines: it is dead or "
        "dying; "
        "a larger model.balance_factor or model.router_bias may keep experts alive",
        i % experts,
        i / experts,
        kIdleWindows);
  }
  counts_LE_ = at::Tensor();
}

at::Tensor expert_gradient_norms(const networks::DitConfig& config,
                                 const ParameterSet& parameters) {
  std::vector<at::Tensor> rows;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (!config.is_moe(layer)) continue;
    const std::string prefix = fmt::format("blocks.{}.moe.experts.", layer);
    const at::Tensor gradient_EX = parameters.joined(prefix, {config.experts, -1}).grad();
    rows.push_back(gradient_EX.norm(2, 1).to(at::kDouble));
  }
  return rows.empty() ? at::Tensor() : at::stack(rows);
}

void balance_router_biases(const networks::DitConfig& config,
                           const at::Tensor& counts_LE,
                           double rate,
                           ParameterSet& parameters) {
  const torch::NoGradGuard no_grad;
  const at::Tensor load_LE = counts_LE.to(at::kFloat);
  const at::Tensor missing_LE = (load_LE.mean(1, /*keepdim=*/true) - load_LE).sign();
  int64_t row = 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (!config.is_moe(layer)) continue;
    at::Tensor bias_E =
        parameters[fmt::format("blocks.{}.moe.gate.{}", layer, networks::kRouterBias)];
    bias_E.add_(missing_LE[row++], rate);
  }
}

}  // namespace ditmoe::training
