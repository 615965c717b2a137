// The autograd functions against their ATen compositions and against finite differences.

#include <functional>
#include <vector>

#include "ditmoe/autograd/experts.h"
#include "ditmoe/autograd/linear.h"
#include "ditmoe/autograd/permute.h"

#include "tests/training/torch_support.h"

namespace ditmoe::autograd {
namespace {

using tests::random_tensor;
using tests::relative_error;
using Function = std::function<at::Tensor(const std::vector<at::Tensor>&, Kernels)>;

struct Evaluation {
  at::Tensor out;
  std::vector<at::Tensor> gradients;
};

// out and the gradients of Σ out·weight for fixed random weights.
Evaluation evaluate(const Function& function,
                    const std::vector<at::Tensor>& inputs,
                    Kernels kernels) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.clone().requires_grad_(true));
  const at::Tensor out = function(leaves, kernels);
  (out * random_tensor(out.sizes(), 99)).sum().backward();
  Evaluation result{out.detach(), {}};
  for (const at::Tensor& leaf : leaves) result.gradients.push_back(leaf.grad());
  return result;
}

void expect_native_equals_aten(const Function& function, const std::vector<at::Tensor>& inputs) {
  const Evaluation native = evaluate(function, inputs, Kernels::kNative);
  const Evaluation aten = evaluate(function, inputs, Kernels::kAten);
  EXPECT_LT(relative_error(native.out, aten.out), 1e-5);
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(native.gradients[i].defined()) << "input " << i;
    EXPECT_LT(relative_error(native.gradients[i], aten.gradients[i]), 1e-5) << "input " << i;
  }
}

// Central differences of the ATen composition in f64 against the native gradients in f32.
void expect_gradients(const Function& function, const std::vector<at::Tensor>& inputs) {
  constexpr double kStep = 1e-4;
  const Evaluation native = evaluate(function, inputs, Kernels::kNative);
  const at::Tensor weight = random_tensor(native.out.sizes(), 99).to(at::kDouble);
  for (size_t i = 0; i < inputs.size(); ++i) {
    at::Tensor expected = at::empty(inputs[i].sizes(), at::kDouble);
    for (int64_t e = 0; e < inputs[i].numel(); ++e) {
      const auto value = [&](double offset) {
        std::vector<at::Tensor> moved;
        for (const at::Tensor& input : inputs) moved.push_back(input.to(at::kDouble, false, true));
        moved[i].data_ptr<double>()[e] += offset;
        return (function(moved, Kernels::kAten) * weight).sum().item<double>();
      };
      expected.data_ptr<double>()[e] = (value(kStep) - value(-kStep)) / (2.0 * kStep);
    }
    EXPECT_LT(relative_error(native.gradients[i].to(at::kDouble), expected), 1e-4) << "input " << i;
  }
}

TEST(LinearTest, AgreesWithAtenAndFiniteDifferences) {
  const Function with_bias = [](const auto& in, Kernels kernels) {
    return linear(in[0], in[1], in[2], kernels);
  };
  for (const int64_t rows : {1, 3, 17}) {
    const std::vector<at::Tensor> inputs = {
        random_tensor({rows, 5}, 1), random_tensor({7, 5}, 2), random_tensor({7}, 3)};
    expect_native_equals_aten(with_bias, inputs);
    expect_gradients(with_bias, inputs);
  }
}

TEST(LinearTest, WorksWithoutBias) {
  const Function without_bias = [](const auto& in, Kernels kernels) {
    return linear(in[0], in[1], {}, kernels);
  };
  expect_native_equals_aten(without_bias, {random_tensor({6, 4}, 1), random_tensor({3, 4}, 2)});
}

// Inputs of E experts: x, then gate, up and down of each.
std::vector<at::Tensor> expert_inputs(int64_t rows, int64_t experts) {
  std::vector<at::Tensor> inputs = {random_tensor({rows, 4}, 1)};
  for (int64_t e = 0; e < experts; ++e) {
    const auto seed = static_cast<uint64_t>(10 * e);
    inputs.push_back(random_tensor({6, 4}, seed + 2, 0.5));
    inputs.push_back(random_tensor({6, 4}, seed + 3, 0.5));
    inputs.push_back(random_tensor({4, 6}, seed + 4, 0.5));
  }
  return inputs;
}

Function grouped(const std::vector<int64_t>& counts) {
  return [counts](const std::vector<at::Tensor>& in, Kernels kernels) {
    std::vector<SwigluWeights> experts;
    for (size_t e = 0; e < counts.size(); ++e) {
      experts.push_back({in[3 * e + 1], in[3 * e + 2], in[3 * e + 3]});
    }
    return grouped_swiglu(in[0], at::tensor(counts, at::kLong), experts, kernels);
  };
}

TEST(GroupedSwigluTest, AgreesWithAtenAndFiniteDifferences) {
  const std::vector<std::vector<int64_t>> cases = {{5}, {2, 3}, {1, 0, 4}, {0, 0, 5}, {1, 1, 1, 2}};
  for (const std::vector<int64_t>& counts : cases) {
    const auto inputs = expert_inputs(5, static_cast<int64_t>(counts.size()));
    expect_native_equals_aten(grouped(counts), inputs);
    expect_gradients(grouped(counts), inputs);
  }
}

TEST(GroupedSwigluTest, EmptyExpertGetsZeroGradient) {
  const Evaluation native = evaluate(grouped({5, 0}), expert_inputs(5, 2), Kernels::kNative);
  for (size_t i = 4; i < 7; ++i) EXPECT_EQ(native.gradients[i].abs().max().item<double>(), 0.0);
  EXPECT_GT(native.gradients[1].abs().max().item<double>(), 0.0);
}

TEST(GroupedSwigluTest, EqualExpertsAreOneExpert) {
  const std::vector<at::Tensor> one = expert_inputs(6, 1);
  const std::vector<at::Tensor> two = {one[0], one[1], one[2], one[3], one[1], one[2], one[3]};
  const at::Tensor split = evaluate(grouped({2, 4}), two, Kernels::kNative).out;
  const at::Tensor whole = evaluate(grouped({6}), one, Kernels::kNative).out;
  EXPECT_LT(relative_error(split, whole), 1e-6);
}

TEST(DispatchTest, SortsByExpertAndKeepsOrderWithin) {
  const at::Tensor index_NK = at::tensor({2, 0, 0, 2, 1, 2}, at::kLong).view({3, 2});
  const Dispatch dispatch = make_dispatch(index_NK, 4);
  EXPECT_TRUE(dispatch.order_S.equal(at::tensor({1, 2, 4, 0, 3, 5}, at::kLong)));
  EXPECT_TRUE(dispatch.counts_E.equal(at::tensor({2, 1, 3, 0}, at::kLong)));
  EXPECT_TRUE(dispatch.order_S.index_select(0, dispatch.inverse_S).equal(at::arange(6, at::kLong)));
}

TEST(DispatchTest, GatherAndCombineAgreeWithAtenAndFiniteDifferences) {
  const at::Tensor index_NK = at::tensor({2, 0, 0, 2, 1, 2, 0, 1}, at::kLong).view({4, 2});
  const Dispatch dispatch = make_dispatch(index_NK, 4);
  const Function gather = [&](const auto& in, Kernels kernels) {
    return gather_tokens(in[0], dispatch, kernels);
  };
  expect_native_equals_aten(gather, {random_tensor({4, 3}, 1)});
  expect_gradients(gather, {random_tensor({4, 3}, 1)});
  const Function combine = [&](const auto& in, Kernels kernels) {
    return combine_tokens(in[0], in[1], dispatch, kernels);
  };
  expect_native_equals_aten(combine, {random_tensor({8, 3}, 1), random_tensor({4, 2}, 2)});
  expect_gradients(combine, {random_tensor({8, 3}, 1), random_tensor({4, 2}, 2)});
}

TEST(DispatchTest, CombineUndoesGather) {
  const at::Tensor index_NK = at::tensor({3, 1, 0, 3}, at::kLong).view({2, 2});
  const Dispatch dispatch = make_dispatch(index_NK, 4);
  const at::Tensor x_ND = random_tensor({2, 5}, 1);
  const at::Tensor half_NK = at::full({2, 2}, 0.5);
  const at::Tensor back = combine_tokens(
      gather_tokens(x_ND, dispatch, Kernels::kNative), half_NK, dispatch, Kernels::kNative);
  EXPECT_LT(relative_error(back, x_ND), 1e-6);
}

}  // namespace
}  // namespace ditmoe::autograd
