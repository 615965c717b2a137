#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <torch/types.h>

#include "ditmoe/training/dit_module.h"

namespace ditmoe::training {

// Which of a Switch-DiT's experts each timestep should use (Park et al., arXiv 2403.09176): row t
// has depth · time_top_k ones side by side, of which the first moves from the left end at t = 0 to
// the right end at t = 999 with (t / 999)^4. [1000, depth · time_experts] f32, as the reference
// saves it under prior._unit_mapping.
at::Tensor time_prior(const networks::DitConfig& config);

// For each row the column it is matched with, so that the sum of the matched costs is the smallest
// (Kuhn 1955, by shortest augmenting paths). cost [n, n] row-major, finite.
std::vector<int64_t> match_at_least_cost(std::span<const double> cost, int64_t n);

// What matches a network's experts with columns of the prior.
struct PriorMatch {
  at::Tensor column_X;  // i64, of each expert; X = depth · time_experts
  double cost = 0;      // L1 distance of the matched columns over all timesteps
};

// Matches the experts that the network chooses at each of the 1000 timesteps with time_prior.
PriorMatch match_prior(const DitModule& module);

// Mean over images of the Jensen-Shannon divergence, in nats, between an image's softmax values
// over depth and what the prior, matched with the network's experts, allots to its timestep. Keeps
// the order of the blocks' experts free, but not how many timesteps share one.
//   t [B] steps 0..999, probabilities [B, depth · time_experts], differentiable
at::Tensor prior_loss(const DitModule& module,
                      const at::Tensor& t_B,
                      const at::Tensor& probabilities_BX);

}  // namespace ditmoe::training
