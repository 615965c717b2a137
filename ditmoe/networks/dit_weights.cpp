#include "ditmoe/networks/dit_weights.h"

#include <algorithm>
#include <span>
#include <string>

#include <fmt/format.h>

namespace ditmoe::networks {
namespace {

class Loader {
 public:
  Loader(const ModelFile& model, kernels::Matmul& matmul) : model_(model), matmul_(matmul) {}

  base::Tensor floats(const std::string& name) const {
    return base::convert(model_.weight(name), base::DType::kF32);
  }

  // A weight of [outputs, ...] with everything behind the first dimension taken as inputs.
  kernels::PackedMatrix linear(const std::string& name, bool bias) {
    const base::Tensor weight = floats(name + ".weight");
    const base::Tensor bias_values = bias ? floats(name + ".bias") : base::Tensor();
    return matmul_.pack(weight.as<float>().data(),
                        bias ? bias_values.as<float>().data() : nullptr,
                        weight.dim(0),
                        weight.size() / weight.dim(0));
  }

  SwigluWeights swiglu(const std::string& name) {
    const base::Tensor gate = floats(name + ".gate_proj.weight");
    const base::Tensor up = floats(name + ".up_proj.weight");
    const int64_t hidden = gate.dim(0);
    const int64_t width = gate.dim(1);
    SwigluWeights weights;
    std::vector<float> chunk;
    for (int64_t first = 0; first < hidden; first += kHiddenChunk) {
      const int64_t columns = std::min(kHiddenChunk, hidden - first);
      chunk.clear();
      for (const base::Tensor* part : {&gate, &up}) {
        const float* rows = part->as<float>().data() + first * width;
        chunk.insert(chunk.end(), rows, rows + columns * width);
      }
      weights.gate_up.push_back(matmul_.pack(chunk.data(), nullptr, 2 * columns, width));
    }
    weights.down = linear(name + ".down_proj", false);
    return weights;
  }

  BlockWeights block(const DitConfig& config, int64_t layer) {
    const std::string name = fmt::format("blocks.{}.", layer);
    BlockWeights block;
    block.modulation = linear(name + "adaLN_modulation.1", true);
    block.qkv = linear(name + "attn.qkv", true);
    block.proj = linear(name + "attn.proj", true);
    if (config.qk_norm) {
      for (const char* part : {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"}) {
        const base::Tensor values = floats(name + "attn." + part);
        const std::span<const float> all = values.as<float>();
        block.qk_norm.insert(block.qk_norm.end(), all.begin(), all.end());
      }
    }
    if (config.is_moe(layer)) {
      block.routed = routed(config, name + "moe.");
      if (config.shared_experts > 0) {
        block.swiglu = swiglu(name + "moe.shared_experts");
      }
    } else if (config.feed_forward == FeedForward::kGelu) {
      block.gelu = GeluWeights{linear(name + "mlp.fc1", true), linear(name + "mlp.fc2", true)};
    } else {
      block.swiglu = swiglu(name + "mlp");
    }
    return block;
  }

 private:
  RoutedWeights routed(const DitConfig& config, const std::string& name) {
    RoutedWeights weights;
    weights.router = linear(name + "gate", false);
    for (int64_t expert = 0; expert < config.experts; ++expert) {
      weights.experts.push_back(swiglu(fmt::format("{}experts.{}", name, expert)));
    }
    return weights;
  }

  const ModelFile& model_;
  kernels::Matmul& matmul_;
};

}  // namespace

kernels::QkNorm BlockWeights::norm_views() const {
  const float* values = qk_norm.data();
  const auto head_dim = static_cast<int64_t>(qk_norm.size()) / 4;
  return {values, values + head_dim, values + 2 * head_dim, values + 3 * head_dim};
}

DitWeights load_dit_weights(const ModelFile& model, kernels::Matmul& matmul) {
  const DitConfig& config = model.config();
  Loader load(model, matmul);
  DitWeights weights;
  weights.patch = load.linear("x_embedder.proj", true);
  weights.position_TD = load.floats("pos_embed");
  weights.time_0 = load.linear("t_embedder.mlp.0", true);
  weights.time_2 = load.linear("t_embedder.mlp.2", true);
  weights.labels_LD = load.floats("y_embedder.embedding_table.weight");
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    weights.blocks.push_back(load.block(config, layer));
  }
  weights.final_modulation = load.linear("final_layer.adaLN_modulation.1", true);
  weights.final_linear = load.linear("final_layer.linear", true);
  return weights;
}

}  // namespace ditmoe::networks
