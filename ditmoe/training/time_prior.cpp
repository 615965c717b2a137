#include "ditmoe/training/time_prior.h"

#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "ditmoe/base/error.h"

namespace ditmoe::training {
namespace {

constexpr int64_t kSteps = 1000;

// Ones for the experts chosen at each timestep: [1000, depth · time_experts].
at::Tensor choices(const DitModule& module) {
  const torch::NoGradGuard no_grad;
  const networks::DitConfig& config = module.config();
  const at::Tensor steps_S = at::arange(kSteps, at::kFloat);
  const at::Tensor probabilities_RE =
      module.time_probabilities(steps_S).view({-1, config.time_experts});
  const auto sorted = at::sort(probabilities_RE, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const at::Tensor best_RK = std::get<1>(sorted).narrow(1, 0, config.time_top_k);
  return at::zeros_like(probabilities_RE).scatter_(1, best_RK, 1.0).view({kSteps, -1});
}

// What match_at_least_cost knows after some of the rows. All arrays have a place 0 in front of the
// n rows or columns: column 0 is where the row to be matched waits.
class Matching {
 public:
  Matching(std::span<const double> cost, int64_t n)
      : cost_(cost),
        n_(n),
        row_price_(static_cast<size_t>(n) + 1),
        column_price_(static_cast<size_t>(n) + 1),
        row_of_(static_cast<size_t>(n) + 1, 0) {}

  void add(int64_t row) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    std::vector<double> distance(row_of_.size(), kInfinity);
    std::vector<int64_t> came_from(row_of_.size(), 0);
    std::vector<bool> is_reached(row_of_.size(), false);
    row_of_[0] = row;
    int64_t column = 0;
    do {
      is_reached[at(column)] = true;
      column = nearest(column, distance, came_from, is_reached);
    } while (row_of_[at(column)] != 0);
    while (column != 0) {
      row_of_[at(column)] = row_of_[at(came_from[at(column)])];
      column = came_from[at(column)];
    }
  }

  int64_t row_of(int64_t column) const { return row_of_[at(column)]; }

 private:
  static size_t at(int64_t index) { return static_cast<size_t>(index); }

  // Extends the tree by the row of `column`, changes prices until a further column costs nothing
  // and returns that.
  int64_t nearest(int64_t column,
                  std::vector<double>& distance,
                  std::vector<int64_t>& came_from,
                  const std::vector<bool>& is_reached) {
    const int64_t row = row_of_[at(column)];
    int64_t next = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t to = 1; to <= n_; ++to) {
      if (is_reached[at(to)]) continue;
      const double reduced =
          cost_[at((row - 1) * n_ + to - 1)] - row_price_[at(row)] - column_price_[at(to)];
      if (reduced < distance[at(to)]) {
        distance[at(to)] = reduced;
        came_from[at(to)] = column;
      }
      if (distance[at(to)] < least) {
        least = distance[at(to)];
        next = to;
      }
    }
    for (int64_t to = 0; to <= n_; ++to) {
      if (is_reached[at(to)]) {
        row_price_[at(row_of_[at(to)])] += least;
        column_price_[at(to)] -= least;
      } else {
        distance[at(to)] -= least;
      }
    }
    DITMOE_ASSERT(next != 0);
    return next;
  }

  std::span<const double> cost_;
  int64_t n_;
  std::vector<double> row_price_;
  std::vector<double> column_price_;
  std::vector<int64_t> row_of_;  // matched with each column, 0 without
};

}  // namespace

at::Tensor time_prior(const networks::DitConfig& config) {
  const int64_t experts = config.depth * config.time_experts;
  const int64_t filled = config.depth * config.time_top_k;
  at::Tensor mapping_SX = at::zeros({kSteps, experts}, at::kFloat);
  for (int64_t t = 0; t < kSteps; ++t) {
    const double share = std::pow(static_cast<double>(t) / static_cast<double>(kSteps - 1), 4);
    const auto first =
        static_cast<int64_t>(std::nearbyint(share * static_cast<double>(experts - filled)));
    mapping_SX[t].narrow(0, first, filled).fill_(1.0);
  }
  return mapping_SX;
}

std::vector<int64_t> match_at_least_cost(std::span<const double> cost, int64_t n) {
  DITMOE_ASSERT(static_cast<int64_t>(cost.size()) == n * n);
  Matching matching(cost, n);
  for (int64_t row = 1; row <= n; ++row) matching.add(row);
  std::vector<int64_t> column_of(static_cast<size_t>(n));
  for (int64_t column = 1; column <= n; ++column) {
    column_of[static_cast<size_t>(matching.row_of(column) - 1)] = column - 1;
  }
  return column_of;
}

PriorMatch match_prior(const DitModule& module) {
  const at::Tensor chosen_SX = choices(module);
  const at::Tensor mapping_SX = time_prior(module.config());
  // |a - b| of zeros and ones is a + b - 2ab.
  const at::Tensor cost_XX = (chosen_SX.sum(0).unsqueeze(1) + mapping_SX.sum(0).unsqueeze(0) -
                              at::matmul(chosen_SX.t(), mapping_SX) * 2.0)
                                 .to(at::kDouble)
                                 .contiguous();
  const int64_t n = cost_XX.size(0);
  const std::vector<int64_t> columns =
      match_at_least_cost({cost_XX.data_ptr<double>(), static_cast<size_t>(n * n)}, n);
  PriorMatch match;
  match.column_X = at::tensor(columns, at::kLong);
  match.cost = cost_XX.gather(1, match.column_X.unsqueeze(1)).sum().item<double>();
  return match;
}

at::Tensor prior_loss(const DitModule& module,
                      const at::Tensor& t_B,
                      const at::Tensor& probabilities_BX) {
  constexpr double kEpsilon = 1e-6;
  const at::Tensor columns_X = match_prior(module).column_X;
  const at::Tensor rows_BX =
      time_prior(module.config()).index_select(0, t_B.to(at::kLong)).index_select(1, columns_X);
  const at::Tensor allotted_BX = rows_BX / rows_BX.sum(1, /*keepdim=*/true);
  const at::Tensor shares_BX = probabilities_BX / static_cast<double>(module.config().depth);
  const at::Tensor log_mean_BX = at::log((shares_BX + allotted_BX) / 2.0 + kEpsilon);
  const auto divergence = [&](const at::Tensor& x_BX) {
    return (x_BX * (at::log(x_BX + kEpsilon) - log_mean_BX)).sum(1);
  };
  return ((divergence(shares_BX) + divergence(allotted_BX)) / 2.0).mean();
}

}  // namespace ditmoe::training
