#include "ditmoe/training/patch_critic.h"

#include <cmath>
#include <numeric>

#include <torch/torch.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/training/group_norm.h"

namespace ditmoe::training {
namespace {

constexpr uint32_t kInitialiseCritic = 0x10201;  // of base::RandomKey; index: the tensor
constexpr double kSlope = 0.2;
constexpr int64_t kGroups = 8;

}  // namespace

std::vector<networks::TensorSpec> critic_specs(int64_t image_channels, int64_t width) {
  return {{"conv_0.weight", {width, image_channels, 4, 4}},
          {"conv_0.bias", {width}},
          {"conv_1.weight", {2 * width, width, 4, 4}},
          {"conv_1.bias", {2 * width}},
          {"norm_1.weight", {2 * width}},
          {"norm_1.bias", {2 * width}},
          {"conv_2.weight", {4 * width, 2 * width, 4, 4}},
          {"conv_2.bias", {4 * width}},
          {"norm_2.weight", {4 * width}},
          {"norm_2.bias", {4 * width}},
          {"conv_out.weight", {1, 4 * width, 4, 4}},
          {"conv_out.bias", {1}}};
}

void initialise_critic(const FlatLayout& layout, const at::Tensor& values, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < layout.specs().size(); ++i) {
    at::Tensor tensor = layout.view(values, i);
    if (tensor.dim() == 1) {
      tensor.fill_(layout.specs()[i].name.starts_with("norm") &&
                           layout.specs()[i].name.ends_with("weight")
                       ? 1.0
                       : 0.0);
      continue;
    }
    base::fill_uniform({tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())},
                       {seed, i, kInitialiseCritic});
    tensor.mul_(2.0).sub_(1.0).mul_(std::sqrt(3.0 / static_cast<double>(tensor[0].numel())));
  }
}

at::Tensor critic_scores(const Leaves& weights, const at::Tensor& images) {
  const auto convolution = [&](const std::string& name, const at::Tensor& x, int64_t stride) {
    return at::conv2d(
        x, weights[name + ".weight"], weights[name + ".bias"], at::IntArrayRef{stride}, 1);
  };
  const auto norm = [&](const std::string& name, const at::Tensor& x) {
    const int64_t groups = std::gcd(x.size(1), kGroups);
    return group_norm(x, weights[name + ".weight"], weights[name + ".bias"], groups, false);
  };
  at::Tensor x = images.contiguous(at::MemoryFormat::ChannelsLast);
  x = at::leaky_relu(convolution("conv_0", x, 2), kSlope);
  x = at::leaky_relu(norm("norm_1", convolution("conv_1", x, 2)), kSlope);
  x = at::leaky_relu(norm("norm_2", convolution("conv_2", x, 1)), kSlope);
  return convolution("conv_out", x, 1);
}

at::Tensor critic_loss(const at::Tensor& real_scores, const at::Tensor& fake_scores) {
  return 0.5 * (at::relu(1.0 - real_scores).mean() + at::relu(1.0 + fake_scores).mean());
}

at::Tensor adversarial_loss(const at::Tensor& fake_scores) { return -fake_scores.mean(); }

}  // namespace ditmoe::training
