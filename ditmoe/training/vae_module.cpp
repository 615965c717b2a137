#include "ditmoe/training/vae_module.h"

#include <cmath>

#include <fmt/format.h>
#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/training/enlarged_convolution.h"
#include "ditmoe/training/group_norm.h"
#include "ditmoe/training/random_streams.h"

namespace ditmoe::training {
namespace {

constexpr double kLeastLogvar = -30.0;
constexpr double kMostLogvar = 20.0;

at::Tensor channels_last(const at::Tensor& x, at::ScalarType type) {
  return x.to(type).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

at::Tensor Posterior::sample(const at::Tensor& noise) const {
  return mean + at::exp(0.5 * logvar) * noise;
}

at::Tensor Posterior::divergence() const {
  return 0.5 * (mean.square() + at::exp(logvar) - 1.0 - logvar).mean();
}

VaeModule::VaeModule(const networks::VaeConfig& config,
                     const Leaves& weights,
                     kernels::Precision precision)
    : config_(config), weights_(weights) {
  DITMOE_ASSERT(precision != kernels::Precision::kInt8);
  map_type_ = precision == kernels::Precision::kBf16 ? at::kBFloat16 : at::kFloat;
}

Posterior VaeModule::encode(const at::Tensor& images) const {
  at::Tensor x = convolution("encoder.conv_in", channels_last(images, map_type_), 1, 1);
  for (int64_t i = 0; i < config_.levels(); ++i) {
    const std::string name = fmt::format("encoder.down.{}", i);
    x = level(name, i, config_.num_res_blocks, x);
    if (i + 1 == config_.levels()) break;
    x = convolution(name + ".downsample.conv", at::constant_pad_nd(x, {0, 1, 0, 1}), 2, 0);
  }
  x = norm("encoder.norm_out", middle("encoder.mid", x), true);
  x = convolution("encoder.conv_out", channels_last(x, at::kFloat), 1, 1);
  if (config_.quant_conv) x = convolution("quant_conv", x, 1, 0);
  const std::vector<at::Tensor> halves = x.chunk(2, 1);
  return {halves[0], halves[1].clamp(kLeastLogvar, kMostLogvar)};
}

at::Tensor VaeModule::decode(const at::Tensor& latents) const {
  at::Tensor x = channels_last(latents, at::kFloat);
  if (config_.quant_conv) x = convolution("post_quant_conv", x, 1, 0);
  x = convolution("decoder.conv_in", x, 1, 1);
  x = middle("decoder.mid", channels_last(x, map_type_));
  for (int64_t i = config_.levels() - 1; i >= 0; --i) {
    const std::string name = fmt::format("decoder.up.{}", i);
    x = level(name, i, config_.num_res_blocks + 1, x);
    if (i == 0) break;
    x = enlarged_convolution(
        x, weights_[name + ".upsample.conv.weight"], weights_[name + ".upsample.conv.bias"]);
  }
  x = norm("decoder.norm_out", x, true);
  return convolution("decoder.conv_out", x, 1, 1).to(at::kFloat);
}

at::Tensor VaeModule::convolution(const std::string& name,
                                  const at::Tensor& x,
                                  int64_t stride,
                                  int64_t padding) const {
  const at::ScalarType type = x.scalar_type();
  return at::conv2d(x,
                    weights_[name + ".weight"].to(type),
                    weights_[name + ".bias"].to(type),
                    at::IntArrayRef{stride},
                    at::IntArrayRef{padding});
}

at::Tensor VaeModule::norm(const std::string& name, const at::Tensor& x, bool silu) const {
  return group_norm(x, weights_[name + ".weight"], weights_[name + ".bias"], config_.groups, silu);
}

at::Tensor VaeModule::res_block(const std::string& name, const at::Tensor& x) const {
  at::Tensor h = convolution(name + ".conv1", norm(name + ".norm1", x, true), 1, 1);
  h = convolution(name + ".conv2", norm(name + ".norm2", h, true), 1, 1);
  return (x.size(1) == h.size(1) ? x : convolution(name + ".nin_shortcut", x, 1, 0)) + h;
}

at::Tensor VaeModule::attention(const std::string& name, const at::Tensor& x) const {
  const at::Tensor n = norm(name + ".norm", x, false);
  // [B, pixels, C], rows of pixels as they lie in memory
  const auto rows = [&](const char* part) {
    return convolution(name + part, n, 1, 0).permute({0, 2, 3, 1}).flatten(1, 2);
  };
  const double scale = 1.0 / std::sqrt(static_cast<double>(x.size(1)));
  const at::Tensor scores = at::bmm(rows(".q") * scale, rows(".k").transpose(1, 2));
  const at::Tensor mixed = at::bmm(at::softmax(scores, -1), rows(".v"));
  const at::Tensor map =
      mixed.view({x.size(0), x.size(2), x.size(3), x.size(1)}).permute({0, 3, 1, 2});
  return x + convolution(name + ".proj_out", map, 1, 0);
}

at::Tensor VaeModule::middle(const std::string& name, const at::Tensor& x) const {
  at::Tensor h = res_block(name + ".block_1", x);
  if (config_.middle_attention) h = attention(name + ".attn_1", h);
  return res_block(name + ".block_2", h);
}

at::Tensor VaeModule::level(const std::string& name,
                            int64_t level,
                            int64_t blocks,
                            at::Tensor x) const {
  for (int64_t block = 0; block < blocks; ++block) {
    x = res_block(fmt::format("{}.block.{}", name, block), x);
    if (config_.level_attention[static_cast<size_t>(level)]) {
      x = attention(fmt::format("{}.attn.{}", name, block), x);
    }
  }
  return x;
}

void initialise_vae(const FlatLayout& layout, const at::Tensor& values, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < layout.specs().size(); ++i) {
    const std::string& name = layout.specs()[i].name;
    at::Tensor tensor = layout.view(values, i);
    const bool is_matrix = tensor.dim() == 4;
    const bool is_last = name.ends_with(".conv2.weight") || name.ends_with(".proj_out.weight");
    if (!is_matrix || is_last) {
      tensor.fill_(!is_matrix && name.ends_with(".weight") ? 1.0 : 0.0);
      continue;
    }
    base::fill_uniform({tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())},
                       {seed, i, stream::kInitialise});
    const auto inputs = static_cast<double>(tensor[0].numel());
    tensor.mul_(2.0).sub_(1.0).mul_(std::sqrt(3.0 / inputs));
  }
}

}  // namespace ditmoe::training
