#include "ditmoe/training/adamw.h"

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

using tests::random_tensor;
using tests::relative_error;

TEST(AdamwTest, FollowsTorchAdamwForTenSteps) {
  const AdamwSettings settings = {.weight_decay = 0.1};
  at::Tensor values = random_tensor({1000}, 1);
  at::Tensor ema = values.clone();
  AdamwState state = make_adamw_state(values);
  at::Tensor reference = values.clone().requires_grad_(true);
  torch::optim::AdamW optimiser({reference},
                                torch::optim::AdamWOptions(1e-2).eps(1e-8).weight_decay(0.1));
  for (uint64_t step = 0; step < 10; ++step) {
    const at::Tensor gradient = random_tensor({1000}, 10 + step);
    reference.mutable_grad() = gradient;
    optimiser.step();
    adamw_step(settings, 1e-2, 1.0, 0.9, gradient, state, values, ema);
  }
  EXPECT_EQ(state.updates, 10);
  EXPECT_LT(relative_error(values, reference.detach()), 1e-6);
}

TEST(AdamwTest, AveragesTheUpdatedWeights) {
  at::Tensor values = random_tensor({10}, 1);
  at::Tensor ema = random_tensor({10}, 2);
  const at::Tensor before = ema.clone();
  AdamwState state = make_adamw_state(values);
  adamw_step({}, 1e-3, 1.0, 0.75, random_tensor({10}, 3), state, values, ema);
  EXPECT_LT(relative_error(ema, 0.75 * before + 0.25 * values), 1e-6);
}

TEST(AdamwTest, GradientScaleIsThatOfTheGradient) {
  at::Tensor scaled = random_tensor({10}, 1);
  at::Tensor plain = scaled.clone();
  at::Tensor ema = scaled.clone();
  const at::Tensor gradient = random_tensor({10}, 2);
  AdamwState first = make_adamw_state(scaled);
  AdamwState second = make_adamw_state(plain);
  adamw_step({}, 1e-3, 0.25, 0.9, gradient, first, scaled, ema);
  adamw_step({}, 1e-3, 1.0, 0.9, gradient * 0.25, second, plain, ema);
  EXPECT_TRUE(scaled.equal(plain));
  EXPECT_TRUE(first.second.equal(second.second));
}

}  // namespace
}  // namespace ditmoe::training
