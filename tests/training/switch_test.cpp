// Switch-DiT as torch modules: the reference's forward and prior loss, the matching behind it, and
// gradients.

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/training/time_prior.h"

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

using tests::relative_error;

networks::DitConfig switch_config() {
  networks::DitConfig config = tests::tiny_config();
  config.feed_forward = networks::FeedForward::kGelu;
  config.time_experts = 5;
  config.time_top_k = 2;
  return config;
}

class SwitchReferenceTest : public ::testing::TestWithParam<Kernels> {
 protected:
  static std::string path(const std::string& name) {
    return std::string(DITMOE_TEST_DATA) + "/switch_dit/" + name;
  }

  at::Tensor array(const std::string& name) const {
    const base::Tensor values = base::convert(arrays_.at(name).view(), base::DType::kF32);
    at::Tensor tensor = at::empty(values.shape(), at::kFloat);
    std::copy_n(values.as<float>().data(), values.size(), tensor.data_ptr<float>());
    return tensor;
  }

  std::map<std::string, base::Tensor> arrays_ = formats::read_npz(path("forward.npz"));
  networks::ModelFile file_ = networks::ModelFile::open(path("model.pt"), {.heads = 4});
};

TEST_P(SwitchReferenceTest, ForwardAndPriorLoss) {
  ParameterSet parameters(file_.config());
  load_weights(parameters, file_);
  const DitModule module(file_.config(), parameters, {GetParam()});
  const torch::NoGradGuard no_grad;
  const at::Tensor t = array("t");
  const DitOutput result = module.forward(array("x"), t, array("y").to(at::kLong));
  EXPECT_LT(relative_error(result.out, array("out")), 1e-4);
  EXPECT_LT(relative_error(result.time_probabilities_BX, array("router_probs")), 1e-5);
  EXPECT_TRUE(result.time_probabilities_BX.equal(module.time_probabilities(t)));
  const at::Tensor rows = time_prior(file_.config()).index_select(0, t.to(at::kLong));
  EXPECT_TRUE(rows.equal(array("prior_mapping_rows")));
  EXPECT_EQ(match_prior(module).cost, array("assignment_cost").item<double>());
  EXPECT_NEAR(prior_loss(module, t, result.time_probabilities_BX).item<double>(),
              array("jsd_loss_unpermuted").item<double>(),
              1e-6);
}

INSTANTIATE_TEST_SUITE_P(Kernels,
                         SwitchReferenceTest,
                         ::testing::Values(Kernels::kNative, Kernels::kAten));

TEST(TimePriorTest, IsWhatTheReferenceSaves) {
  const networks::ModelFile file =
      networks::ModelFile::open(DITMOE_TEST_DATA "/switch_dit/model.pt", {.heads = 4});
  const base::TensorView saved = file.file()->view("prior._unit_mapping");
  const at::Tensor mapping = time_prior(file.config()).contiguous();
  ASSERT_EQ(saved.shape, (base::Shape{1000, 6}));
  EXPECT_EQ(std::memcmp(saved.data, mapping.data_ptr<float>(), saved.bytes()), 0);
}

// All permutations of so few columns.
double least_cost(std::span<const double> cost, int64_t n) {
  std::vector<int64_t> columns(static_cast<size_t>(n));
  std::iota(columns.begin(), columns.end(), 0);
  double least = std::numeric_limits<double>::infinity();
  do {
    double sum = 0;
    for (int64_t row = 0; row < n; ++row) {
      sum += cost[static_cast<size_t>(row * n + columns[static_cast<size_t>(row)])];
    }
    least = std::min(least, sum);
  } while (std::ranges::next_permutation(columns).found);
  return least;
}

TEST(MatchTest, CostsAsLittleAsAnyPermutation) {
  uint64_t seed = 0;
  for (int64_t n = 1; n <= 7; ++n) {
    for (const double step : {1e-6, 0.5, 2.0}) {  // the coarser, the more ties
      const at::Tensor cost =
          (tests::random_tensor({n, n}, ++seed, 3.0) / step).round().to(at::kDouble) * step;
      const std::span<const double> values(cost.data_ptr<double>(), static_cast<size_t>(n * n));
      const std::vector<int64_t> match = match_at_least_cost(values, n);
      double sum = 0;
      std::vector<bool> taken(static_cast<size_t>(n), false);
      for (int64_t row = 0; row < n; ++row) {
        const int64_t column = match[static_cast<size_t>(row)];
        ASSERT_GE(column, 0);
        ASSERT_LT(column, n);
        EXPECT_FALSE(taken[static_cast<size_t>(column)]);
        taken[static_cast<size_t>(column)] = true;
        sum += values[static_cast<size_t>(row * n + column)];
      }
      EXPECT_NEAR(sum, least_cost(values, n), 1e-9) << n << " " << step;
    }
  }
}

TEST(MatchTest, FindsAPermutationOfEightyFour) {
  constexpr int64_t kSize = 84;  // as many experts as Switch-DiT-XL has
  std::vector<double> cost(kSize * kSize, 5.0);
  for (int64_t row = 0; row < kSize; ++row) {
    cost[static_cast<size_t>(row * kSize + (row * 25 + 7) % kSize)] = 4.0;
  }
  const std::vector<int64_t> match = match_at_least_cost(cost, kSize);
  for (int64_t row = 0; row < kSize; ++row) {
    EXPECT_EQ(match[static_cast<size_t>(row)], (row * 25 + 7) % kSize);
  }
}

Losses losses_of(const networks::DitConfig& config, const ParameterSet& parameters) {
  TrainingBatch batch = tests::random_batch(config, 3, 5);
  batch.t = at::tensor({17.0F, 400.0F, 987.0F});
  return make_objective(networks::Objective::kDdpm)->losses(DitModule(config, parameters), batch);
}

TEST(SwitchTrainingTest, PriorLossIsPartOfTheTotal) {
  const networks::DitConfig config = switch_config();
  ParameterSet parameters(config);
  tests::randomise(parameters, 4);
  const Losses losses = losses_of(config, parameters);
  ASSERT_TRUE(losses.network.prior_loss.defined());
  const double prior = losses.network.prior_loss.item<double>();
  EXPECT_GT(prior, 0.0);
  EXPECT_LT(prior, std::log(2.0));  // where the two have nothing in common
  EXPECT_NEAR(losses.total().item<double>(),
              losses.per_image_B.mean().item<double>() + prior,
              1e-6 * losses.total().item<double>());
  EXPECT_TRUE(losses.network.balance_losses.empty());
}

// Central differences along the gradient of each tensor that Switch-DiT adds.
TEST(SwitchTrainingTest, GradientsAreThoseOfFiniteDifferences) {
  networks::DitConfig config = switch_config();
  config.learn_sigma = false;  // whose loss stops gradients on purpose
  ParameterSet parameters(config);
  tests::randomise(parameters, 4);
  losses_of(config, parameters).total().backward();
  const torch::NoGradGuard no_grad;
  for (const char* name : {"routers.0.f_gate.1.weight",
                           "routers.1.f_gate.1.bias",
                           "routers.0.experts.w",
                           "routers.1.experts.b",
                           "t_embedder.mlp.2.weight"}) {
    const at::Tensor& weight = parameters[name];
    const at::Tensor gradient = weight.grad().clone();
    const double norm = gradient.norm().item<double>();
    ASSERT_GT(norm, 0.0) << name;
    const double step = 2e-3;
    const auto loss_at = [&](double distance) {
      const at::Tensor before = weight.clone();
      weight.add_(gradient, distance / norm);
      const double loss = losses_of(config, parameters).total().item<double>();
      weight.copy_(before);
      return loss;
    };
    EXPECT_NEAR((loss_at(step) - loss_at(-step)) / (2 * step), norm, 0.02 * norm) << name;
  }
}

TEST(SwitchTrainingTest, RectifiedFlowIsRefused) {
  const networks::DitConfig config = switch_config();
  const ParameterSet parameters(config);
  const TrainingBatch batch = tests::random_batch(config, 2, 5);
  EXPECT_THROW(make_objective(networks::Objective::kRectifiedFlow)
                   ->losses(DitModule(config, parameters), batch),
               base::Error);
}

}  // namespace
}  // namespace ditmoe::training
