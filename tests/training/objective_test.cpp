#include "ditmoe/training/objective.h"

#include <cmath>

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

using tests::relative_error;

TEST(ObjectiveTest, DdpmTimesCoverTheStepsAndOnlyThem) {
  const auto objective = make_objective(networks::Objective::kDdpm);
  const at::Tensor t = objective->draw_times(at::tensor({0.0F, 0.5F, 0.9999999F}), at::zeros({3}));
  EXPECT_TRUE(t.equal(at::tensor({0.0F, 500.0F, 999.0F})));
}

TEST(ObjectiveTest, RectifiedFlowTimesAreLogitNormal) {
  const auto objective = make_objective(networks::Objective::kRectifiedFlow);
  const at::Tensor t = objective->draw_times(at::zeros({3}), at::tensor({-1.0F, 0.0F, 2.0F}));
  EXPECT_NEAR(t[0].item<double>(), 1.0 / (1.0 + std::exp(1.0)), 1e-6);
  EXPECT_NEAR(t[1].item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(t[2].item<double>(), 1.0 / (1.0 + std::exp(-2.0)), 1e-6);
}

// The null network (zero output) predicts no noise: its MSE is the noise's mean square.
TEST(ObjectiveTest, ZeroNetworkLosesTheNoise) {
  const networks::DitConfig config = tests::tiny_config();
  ParameterSet parameters(config);
  initialise(parameters, 1);
  const TrainingBatch batch = tests::random_batch(config, 3, 5);
  const Losses losses = make_objective(config.objective)
                            ->losses(DitModule(config, parameters, {Kernels::kNative}), batch);
  EXPECT_LT(relative_error(losses.mse_B, batch.noise.square().flatten(1).mean(1)), 1e-5);
  EXPECT_TRUE(losses.vb_B.defined());
}

// The bound trains the variance only: no gradient reaches the mean through it.
TEST(ObjectiveTest, BoundLeavesTheMeanAlone) {
  networks::DitConfig config = tests::tiny_config();
  config.balance_factor = 0.0;
  ParameterSet parameters(config);
  tests::randomise(parameters, 3);
  const Losses losses = make_objective(config.objective)
                            ->losses(DitModule(config, parameters, {Kernels::kNative}),
                                     tests::random_batch(config, 3, 5));
  losses.vb_B.sum().backward();
  const at::Tensor bias_grad = parameters["final_layer.linear.bias"].grad();
  // Output channels alternate: of each patch position one mean, one variance.
  const at::Tensor by_channel = bias_grad.view({-1, config.output_channels()});
  EXPECT_EQ(by_channel.select(1, 0).abs().max().item<double>(), 0.0);
  EXPECT_GT(by_channel.select(1, 1).abs().max().item<double>(), 0.0);
}

// accumulation: the mean of two halves' gradients is the whole batch's, balance loss included.
TEST(ObjectiveTest, AccumulationEqualsTheLargeBatch) {
  const networks::DitConfig config = tests::tiny_config();
  ParameterSet parameters(config);
  tests::randomise(parameters, 3);
  const DitModule module(config, parameters, {Kernels::kNative});
  const auto objective = make_objective(config.objective);
  const TrainingBatch batch = tests::random_batch(config, 8, 5);
  objective->losses(module, batch).total().backward();
  const at::Tensor whole = parameters.gradients().clone();
  parameters.gradients().zero_();
  for (const int64_t first : {0, 2, 4, 6}) {
    const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, first, 2); };
    const TrainingBatch micro = {
        part(batch.x_start), part(batch.y), part(batch.t), part(batch.noise)};
    (objective->losses(module, micro).total() / 4.0).backward();
  }
  EXPECT_LT(relative_error(parameters.gradients(), whole), 1e-5);
}

}  // namespace
}  // namespace ditmoe::training
