#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include "ditmoe/networks/dit_config.h"
#include "ditmoe/training/parameters.h"

namespace ditmoe::training {

// How choices fall on experts between two lines of the log, by block L and expert E.
class ExpertWatch {
 public:
  // Adds the choices of one update, i64.
  void add(const at::Tensor& counts_LE);

  bool empty() const { return !counts_LE_.defined(); }

  // Choices over their mean in the block; 1 is perfect, 0 is idle. [L, E] f64.
  at::Tensor loads() const;

  // Warns of experts that have had next to no tokens (below a hundredth of the mean) for three
  // windows in a row, once each until they come back, and begins a new window.
  void next_window();

 private:
  at::Tensor counts_LE_;
  std::vector<int64_t> idle_windows_;  // [L · E]
};

// Norms of the gradients of each expert's weights, [L, E] f64; of what is not MoE, none.
at::Tensor expert_gradient_norms(const networks::DitConfig& config, const ParameterSet& parameters);

// Moves the biases of all routers by `rate`, up for experts that got fewer choices than the mean of
// their block and down for those that got more (loss-free balancing, DeepSeek-V3, arXiv
// 2412.19437).
//   counts_LE  choices of one update
void balance_router_biases(const networks::DitConfig& config,
                           const at::Tensor& counts_LE,
                           double rate,
                           ParameterSet& parameters);

}  // namespace ditmoe::training
