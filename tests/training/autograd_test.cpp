// The autograd functions against their ATen compositions and against finite differences.

#include <functional>
#include <vector>

#include "ditmoe/autograd/attention.h"
#include "ditmoe/autograd/experts.h"
#include "ditmoe/autograd/linear.h"
#include "ditmoe/autograd/modulation.h"
#include "ditmoe/autograd/recompute.h"
#include "ditmoe/autograd/router.h"

#include "tests/training/torch_support.h"

namespace ditmoe::autograd {
namespace {

using kernels::Precision;
using tests::random_tensor;
using tests::relative_error;
using Inputs = std::vector<at::Tensor>;
using Function = std::function<at::Tensor(const Engine&, const Inputs&)>;

struct Evaluation {
  at::Tensor out;
  Inputs gradients;
};

// out and the gradients of Σ out·weight for fixed random weights.
Evaluation evaluate(const Function& function,
                    const Inputs& inputs,
                    Kernels kernels,
                    Precision precision = Precision::kF32) {
  const Engine engine(kernels, precision);
  Inputs leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.clone().requires_grad_(true));
  const at::Tensor out = function(engine, leaves);
  (out * random_tensor(out.sizes(), 99)).sum().backward();
  Evaluation result{out.detach().to(at::kFloat), {}};
  for (const at::Tensor& leaf : leaves) {
    result.gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf.detach()));
  }
  return result;
}

void expect_near(const Evaluation& actual, const Evaluation& expected, double tolerance) {
  EXPECT_LT(relative_error(actual.out, expected.out), tolerance);
  for (size_t i = 0; i < expected.gradients.size(); ++i) {
    EXPECT_LT(relative_error(actual.gradients[i], expected.gradients[i]), tolerance)
        << "input " << i;
  }
}

void expect_native_equals_aten(const Function& function, const Inputs& inputs) {
  expect_near(evaluate(function, inputs, Kernels::kNative),
              evaluate(function, inputs, Kernels::kAten),
              1e-5);
}

// In bfloat16, whose rounding is all that may differ.
void expect_half_is_near(const Function& function, const Inputs& inputs) {
  expect_near(evaluate(function, inputs, Kernels::kNative, Precision::kBf16),
              evaluate(function, inputs, Kernels::kAten),
              0.03);
}

// Central differences of the ATen composition in f64 against the native gradients in f32.
void expect_gradients(const Function& function, const Inputs& inputs) {
  constexpr double kStep = 1e-4;
  const Evaluation native = evaluate(function, inputs, Kernels::kNative);
  const at::Tensor weight = random_tensor(native.out.sizes(), 99).to(at::kDouble);
  const Engine engine(Kernels::kAten);
  for (size_t i = 0; i < inputs.size(); ++i) {
    at::Tensor expected = at::empty(inputs[i].sizes(), at::kDouble);
    for (int64_t e = 0; e < inputs[i].numel(); ++e) {
      const auto value = [&](double offset) {
        Inputs moved;
        for (const at::Tensor& input : inputs) moved.push_back(input.to(at::kDouble, false, true));
        moved[i].data_ptr<double>()[e] += offset;
        return (function(engine, moved) * weight).sum().item<double>();
      };
      expected.data_ptr<double>()[e] = (value(kStep) - value(-kStep)) / (2.0 * kStep);
    }
    EXPECT_LT(relative_error(native.gradients[i].to(at::kDouble), expected), 1e-4) << "input " << i;
  }
}

void expect_right(const Function& function, const Inputs& inputs) {
  expect_native_equals_aten(function, inputs);
  expect_gradients(function, inputs);
  expect_half_is_near(function, inputs);
}

TEST(LinearTest, AgreesWithAtenAndFiniteDifferences) {
  const Function with_bias = [](const Engine& engine, const Inputs& in) {
    return linear(engine, in[0], in[1], in[2], {engine.precision()});
  };
  for (const int64_t rows : {1, 3, 17}) {
    expect_right(with_bias,
                 {random_tensor({rows, 5}, 1), random_tensor({7, 5}, 2), random_tensor({7}, 3)});
  }
}

TEST(LinearTest, WorksWithoutBias) {
  const Function without_bias = [](const Engine& engine, const Inputs& in) {
    return linear(engine, in[0], in[1], {}, {engine.precision()});
  };
  expect_right(without_bias, {random_tensor({6, 4}, 1), random_tensor({3, 4}, 2)});
}

TEST(LinearTest, NarrowResultsFeedNarrowLayers) {
  const Function two = [](const Engine& engine, const Inputs& in) {
    const at::Tensor hidden = linear(engine, in[0], in[1], in[2], {engine.precision(), true});
    EXPECT_EQ(hidden.scalar_type(), engine.product_type());
    return linear(engine, hidden, in[3], {}, {engine.precision(), false});
  };
  expect_half_is_near(two,
                      {random_tensor({6, 4}, 1),
                       random_tensor({8, 4}, 2),
                       random_tensor({8}, 3),
                       random_tensor({3, 8}, 4)});
}

TEST(LinearTest, GradientsOfSeveralBackwardsAddUp) {
  const Engine engine;
  const at::Tensor x = random_tensor({3, 4}, 1);
  at::Tensor w = random_tensor({2, 4}, 2).requires_grad_(true);
  at::Tensor once;
  for (int i = 0; i < 3; ++i) {
    linear(engine, x, w, {}).sum().backward();
    if (i == 0) once = w.grad().clone();
  }
  EXPECT_LT(relative_error(w.grad(), 3 * once), 1e-6);
}

TEST(EngineTest, UsesTheRoundedCopyOfWeights) {
  Engine engine(Kernels::kNative, Precision::kBf16);
  const at::Tensor flat = random_tensor({12}, 1);
  const at::Tensor half = at::ones({12}, at::kBFloat16);  // not flat's values, to tell them apart
  engine.use_half_weights(flat, half);
  const at::Tensor x = random_tensor({2, 4}, 2).to(at::kBFloat16).to(at::kFloat);
  const at::Tensor out =
      linear(engine, x, flat.narrow(0, 4, 8).view({2, 4}), {}, {Precision::kBf16});
  EXPECT_LT(relative_error(out.select(1, 0), x.sum(1)), 1e-5);
}

TEST(ModulationTest, NormAndModulateAgreesWithAtenAndFiniteDifferences) {
  const Function function = [](const Engine& engine, const Inputs& in) {
    const std::vector<at::Tensor> parts = in[1].chunk(2, 1);
    return norm_modulate(engine, in[0], parts[0], parts[1]);
  };
  expect_right(function, {random_tensor({6, 5}, 1), random_tensor({2, 10}, 2)});
  expect_native_equals_aten(function, {random_tensor({2 * 150, 20}, 1), random_tensor({2, 40}, 2)});
}

TEST(ModulationTest, GatedResidualAgreesWithAtenAndFiniteDifferences) {
  const Function function = [](const Engine& engine, const Inputs& in) {
    return gated_residual(engine, in[0], in[1].chunk(3, 1)[1], in[2]);
  };
  expect_right(function,
               {random_tensor({6, 5}, 1), random_tensor({2, 15}, 2), random_tensor({6, 5}, 3)});
}

Function attend(int64_t tokens, int64_t heads) {
  return [=](const Engine& engine, const Inputs& in) {
    QkNormWeights norm;
    // The keys' bias changes nothing, as softmax sees it: its gradient is rounding alone.
    if (in.size() > 1) norm = {in[1], in[2], in[3], at::full({4}, 0.3, in[0].options())};
    const bool is_half =
        engine.precision() == Precision::kBf16 && engine.kernels() == Kernels::kNative;
    const at::Tensor qkv = is_half ? in[0].to(at::kBFloat16) : in[0];
    return attention(engine, qkv, tokens, heads, norm).to(in[0].scalar_type());
  };
}

TEST(AttentionTest, AgreesWithAtenAndFiniteDifferences) {
  expect_right(attend(5, 2), {random_tensor({10, 24}, 1)});
  expect_right(attend(1, 1), {random_tensor({3, 12}, 1)});
  expect_native_equals_aten(attend(150, 3), {random_tensor({300, 72}, 1)});
}

TEST(AttentionTest, WithNormalisedQueriesAndKeys) {
  Inputs inputs = {random_tensor({10, 24}, 1)};
  for (uint64_t seed = 2; seed < 5; ++seed) inputs.push_back(random_tensor({4}, seed));
  expect_right(attend(5, 2), inputs);
}

// Weights of E experts of width D and hidden F in one leaf.
SwigluWeights experts_of(const at::Tensor& flat, int64_t width, int64_t hidden) {
  return {flat, width, hidden};
}

Function routed(const std::vector<int64_t>& index, int64_t top_k) {
  return [=](const Engine& engine, const Inputs& in) {
    const at::Tensor index_NK = at::tensor(index, at::kLong).view({-1, top_k});
    return routed_swiglu(engine, in[0], index_NK, in[2], experts_of(in[1], 4, 6));
  };
}

Inputs expert_inputs(int64_t tokens, int64_t top_k, int64_t experts) {
  return {random_tensor({tokens, 4}, 1),
          random_tensor({experts * 3 * 4 * 6}, 2, 0.5),
          random_tensor({tokens, top_k}, 3)};
}

TEST(RoutedSwigluTest, AgreesWithAtenAndFiniteDifferences) {
  expect_right(routed({0, 0, 0}, 1), expert_inputs(3, 1, 1));
  expect_right(routed({0, 1, 1, 0}, 1), expert_inputs(4, 1, 2));
  expect_right(routed({0, 2, 0, 3, 2, 3}, 2), expert_inputs(3, 2, 4));  // expert 1 is idle
  expect_right(routed({3, 1}, 2), expert_inputs(1, 2, 4));              // one token, unsorted
  expect_right(routed({0, 1, 2, 0, 1, 2}, 3), expert_inputs(2, 3, 3));  // every expert
}

TEST(RoutedSwigluTest, AgreesWithAtenBeyondOneUnitOfRows) {
  std::vector<int64_t> index;
  for (int64_t n = 0; n < 50; ++n) index.insert(index.end(), {n % 3, 3 + n % 2});
  expect_native_equals_aten(routed(index, 2), expert_inputs(50, 2, 6));
  expect_half_is_near(routed(index, 2), expert_inputs(50, 2, 6));
}

TEST(RoutedSwigluTest, AnIdleExpertGetsNoGradient) {
  const Evaluation native =
      evaluate(routed({0, 2, 0, 2}, 2), expert_inputs(2, 2, 3), Kernels::kNative);
  const at::Tensor by_expert = native.gradients[1].view({3, -1}).abs().amax(1);
  EXPECT_GT(by_expert[0].item<double>(), 0.0);
  EXPECT_EQ(by_expert[1].item<double>(), 0.0);
  EXPECT_GT(by_expert[2].item<double>(), 0.0);
}

TEST(RoutedSwigluTest, OneLayerForAllRowsAgreesToo) {
  const Function function = [](const Engine& engine, const Inputs& in) {
    return swiglu(engine, in[0], experts_of(in[1], 4, 6));
  };
  for (const int64_t rows : {1, 5, 40}) {
    expect_right(function, {random_tensor({rows, 4}, 1), random_tensor({72}, 2, 0.5)});
  }
}

// Weights and balance loss, each times something, so that both have gradients.
Function route_with(const RouterSettings& settings, const at::Tensor& bias = {}) {
  return [=](const Engine& engine, const Inputs& in) {
    const at::Tensor own = bias.defined() ? bias.to(in[0].scalar_type()) : bias;
    const Routing routing = route(engine, in[0], own, settings);
    return at::cat({routing.weight_NK.flatten(), routing.balance_loss.view({1})});
  };
}

TEST(RouteTest, AgreesWithAtenAndFiniteDifferences) {
  const at::Tensor bias = at::tensor({1.0F, -0.2F, 0.0F, 0.3F, 0.0F});
  for (const auto score : {kernels::RouterScore::kSoftmax, kernels::RouterScore::kSigmoid}) {
    for (const bool renormalise : {false, true}) {
      for (const int64_t pools : {1, 3}) {
        SCOPED_TRACE(::testing::Message() << static_cast<int>(score) << renormalise << pools);
        const RouterSettings settings{score, renormalise, 2, 0.7, pools};
        const Inputs inputs = {random_tensor({6, 5}, 1)};
        for (const at::Tensor& own : {at::Tensor(), bias}) {
          expect_native_equals_aten(route_with(settings, own), inputs);
          expect_gradients(route_with(settings, own), inputs);
        }
      }
    }
  }
}

TEST(RouteTest, TheBiasMovesChoicesAndNotWeights) {
  const Engine engine;
  const at::Tensor logits = at::tensor({1.0F, 2.0F, 3.0F}).view({1, 3});
  const at::Tensor bias = at::tensor({10.0F, 0.0F, 0.0F});
  const Routing routing = route(engine, logits, bias, {.top_k = 1});
  EXPECT_EQ(routing.index_NK.item<int64_t>(), 0);
  EXPECT_NEAR(routing.weight_NK.item<double>(), at::softmax(logits, -1)[0][0].item<double>(), 1e-6);
  EXPECT_TRUE(routing.counts_E.equal(at::tensor({1, 0, 0}, at::kLong)));
}

TEST(RouteTest, BalanceLossIsTheFactorWhereLoadAndSharesAreEven) {
  for (const Kernels kernels : {Kernels::kNative, Kernels::kAten}) {
    const Engine engine(kernels);
    const at::Tensor logits = at::zeros({4, 2});
    // Ties go to the lowest index; both are chosen.
    const Routing routing =
        route(engine, logits, {}, {.top_k = 2, .balance_factor = 0.01, .pools = 2});
    EXPECT_NEAR(routing.balance_loss.item<double>(), 0.01, 1e-8);
  }
}

TEST(RouteTest, PoolsDifferWhereImagesDiffer) {
  // Each image sends all its tokens to one expert, but not to the same.
  const at::Tensor logits =
      at::tensor({50.0F, 0.0F, 50.0F, 0.0F, 0.0F, 50.0F, 0.0F, 50.0F}).view({4, 2});
  for (const Kernels kernels : {Kernels::kNative, Kernels::kAten}) {
    const Engine engine(kernels);
    const auto loss = [&](int64_t pools) {
      return route(engine, logits, {}, {.top_k = 1, .balance_factor = 1.0, .pools = pools})
          .balance_loss.item<double>();
    };
    EXPECT_NEAR(loss(2), 2.0, 1e-6);
    EXPECT_NEAR(loss(1), 1.0, 1e-6);
  }
}

TEST(RecomputeTest, GivesTheSameGradientsAndKeepsOnlyInputs) {
  int runs = 0;
  const auto body = [&runs](const Engine& engine, const Inputs& in) {
    ++runs;
    return at::gelu(linear(engine, in[0], in[1], in[2]));
  };
  const Function plain = [&](const Engine& engine, const Inputs& in) { return body(engine, in); };
  const Function again = [&](const Engine& engine, const Inputs& in) {
    return recompute(
        [&, in](const Inputs& x, bool) {
          return Inputs{body(engine, {x[0], in[1], in[2]})};
        },
        {in[0]})[0];
  };
  const Inputs inputs = {random_tensor({3, 4}, 1), random_tensor({2, 4}, 2), random_tensor({2}, 3)};
  const Evaluation expected = evaluate(plain, inputs, Kernels::kNative);
  EXPECT_EQ(std::exchange(runs, 0), 1);
  const Evaluation actual = evaluate(again, inputs, Kernels::kNative);
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(actual.out.equal(expected.out));
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(actual.gradients[i].equal(expected.gradients[i])) << i;
  }
}

}  // namespace
}  // namespace ditmoe::autograd
