#include "ditmoe/training/enlarged_convolution.h"
#include "ditmoe/training/group_norm.h"

#include "tests/training/torch_support.h"

namespace ditmoe::training {
namespace {

using tests::random_tensor;
using tests::relative_error;

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

// Values and gradients of a function of three tensors, in f32.
struct Outcome {
  at::Tensor y;
  std::vector<at::Tensor> gradients;
};

template <typename Function>
Outcome run(const Function& function,
            const std::vector<at::Tensor>& inputs,
            at::ScalarType x_type) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.clone().requires_grad_(true));
  const at::Tensor y = function(leaves[0].to(x_type), leaves[1], leaves[2]).to(at::kFloat);
  y.backward(random_tensor(y.sizes(), 9));
  Outcome outcome = {y.detach(), {}};
  for (const at::Tensor& leaf : leaves) outcome.gradients.push_back(leaf.grad());
  return outcome;
}

void expect_close(const Outcome& actual, const Outcome& expected, double tolerance) {
  EXPECT_LT(relative_error(actual.y, expected.y), tolerance);
  for (size_t i = 0; i < expected.gradients.size(); ++i) {
    EXPECT_LT(relative_error(actual.gradients[i], expected.gradients[i]), tolerance) << i;
  }
}

// Channels that fill rows of the loops exactly, that do not, and that are more than a row.
TEST(GroupNormTest, IsThatOfTorchWithItsGradients) {
  for (const auto& [channels, groups, side] :
       {std::tuple{32, 8, 9}, {6, 3, 5}, {20, 1, 4}, {600, 4, 3}, {8, 8, 2}}) {
    for (const bool silu : {false, true}) {
      SCOPED_TRACE(fmt::format("{} channels, {} groups, silu {}", channels, groups, silu));
      const std::vector<at::Tensor> inputs = {
          channels_last(random_tensor({3, channels, side, side}, 1, 2.0) + 0.7),
          random_tensor({channels}, 2) + 1.0,
          random_tensor({channels}, 3)};
      const auto oracle = [&](const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
        const at::Tensor z = at::group_norm(x.contiguous(), groups, w, b, 1e-6);
        return silu ? at::silu(z) : z;
      };
      const auto ours = [&](const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
        return group_norm(x, w, b, groups, silu);
      };
      const Outcome expected = run(oracle, inputs, at::kFloat);
      expect_close(run(ours, inputs, at::kFloat), expected, 1e-5);
      expect_close(run(ours, inputs, at::kBFloat16), expected, 2e-2);
    }
  }
}

TEST(GroupNormTest, NotANumberStaysInItsImage) {
  at::Tensor x = channels_last(random_tensor({2, 8, 4, 4}, 1));
  const at::Tensor weight = at::ones({8});
  const at::Tensor bias = at::zeros({8});
  const at::Tensor whole = group_norm(x, weight, bias, 2, true);
  x[0][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = group_norm(x, weight, bias, 2, true);
  EXPECT_TRUE(y[0].narrow(0, 0, 4).isnan().all().item<bool>());
  EXPECT_TRUE(y[1].equal(whole[1]));
}

TEST(EnlargedConvolutionTest, IsTheConvolutionOfTheEnlargedMap) {
  for (const auto& [height, width] : {std::pair{5, 7}, {1, 1}, {8, 8}}) {
    SCOPED_TRACE(fmt::format("{}x{}", height, width));
    const std::vector<at::Tensor> inputs = {channels_last(random_tensor({2, 6, height, width}, 1)),
                                            random_tensor({10, 6, 3, 3}, 2, 0.3),
                                            random_tensor({10}, 3)};
    const auto oracle = [&](const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
      const at::Tensor large = at::upsample_nearest2d(x, {2 * height, 2 * width});
      return at::conv2d(large, w, b, /*stride=*/1, /*padding=*/1);
    };
    const Outcome expected = run(oracle, inputs, at::kFloat);
    expect_close(run(enlarged_convolution, inputs, at::kFloat), expected, 1e-5);
    expect_close(run(enlarged_convolution, inputs, at::kBFloat16), expected, 2e-2);
  }
}

}  // namespace
}  // namespace ditmoe::training
