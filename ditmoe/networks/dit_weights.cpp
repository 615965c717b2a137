#include "ditmoe/networks/dit_weights.h"

#include <span>
#include <string>

#include <fmt/format.h>

namespace ditmoe::networks {
namespace {

using kernels::PackedMatrix;
using kernels::Precision;

class Loader {
 public:
  Loader(const MatrixSource& source, kernels::Matmul& matmul, base::Arena& arena)
      : source_(source), matmul_(matmul), arena_(arena) {}

  // A layer in f32, everything behind the first dimension taken as inputs.
  PackedMatrix plain(const std::string& name) const {
    const base::Tensor weight = source_.floats(name + ".weight");
    const base::Tensor bias = source_.floats(name + ".bias");
    return matmul_.pack(weight.view(), bias.as<float>().data(), Precision::kF32, arena_);
  }

  BlockWeights block(int64_t layer) const {
    const DitConfig& config = source_.config();
    const std::string name = fmt::format("blocks.{}.", layer);
    const BlockGroups groups(config, layer, source_.precision());
    BlockWeights block;
    block.modulation = one(groups.modulation);
    block.qkv = source_.matrices(groups.qkv);
    block.proj = one(groups.proj);
    if (config.qk_norm) {
      for (const char* part : {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"}) {
        const base::Tensor values = source_.floats(name + "attn." + part);
        const std::span<const float> all = values.as<float>();
        block.qk_norm.insert(block.qk_norm.end(), all.begin(), all.end());
      }
    }
    if (config.is_moe(layer)) {
      block.routed = RoutedWeights{source_.floats(name + "moe.gate.weight"), {}, {}};
      if (config.router_bias) {
        block.routed->bias_E = source_.floats(name + "moe.gate." + kRouterBias);
      }
      block.routed->experts.resize(static_cast<size_t>(config.experts));
    }
    if (!groups.time_experts.empty()) {
      const std::string gate = fmt::format("routers.{}.f_gate.1.", layer);
      block.timed = TimeExpertWeights{source_.floats(gate + "weight"),
                                      source_.floats(gate + "bias"),
                                      source_.matrices(groups.time_experts.front())};
    }
    if (groups.feed_forward.empty()) return block;
    if (config.feed_forward == FeedForward::kGelu) {
      block.gelu =
          GeluWeights{source_.matrices(groups.feed_forward[0]), one(groups.feed_forward[1])};
    } else {
      block.swiglu = swiglu(groups.feed_forward);
    }
    return block;
  }

  SwigluWeights expert(int64_t layer, int64_t expert) const {
    return swiglu(expert_groups(source_.config(), layer, expert, source_.precision()));
  }

  PackedMatrix one(const MatrixGroup& group) const { return source_.matrices(group).front(); }

 private:
  SwigluWeights swiglu(const std::vector<MatrixGroup>& groups) const {
    return {source_.matrices(groups[0]), one(groups[1])};
  }

  const MatrixSource& source_;
  kernels::Matmul& matmul_;
  base::Arena& arena_;
};

}  // namespace

kernels::QkNorm BlockWeights::norm_views() const {
  const float* values = qk_norm.data();
  const auto head_dim = static_cast<int64_t>(qk_norm.size()) / 4;
  return {values, values + head_dim, values + 2 * head_dim, values + 3 * head_dim};
}

DitWeights load_dit_weights(const MatrixSource& source,
                            kernels::Matmul& matmul,
                            base::Arena& arena,
                            base::ThreadPool& pool) {
  const DitConfig& config = source.config();
  const Loader load(source, matmul, arena);
  DitWeights weights;
  weights.patch = load.plain("x_embedder.proj");
  weights.position_TD = source.floats("pos_embed");
  weights.time_0 = load.plain("t_embedder.mlp.0");
  weights.time_2 = load.plain("t_embedder.mlp.2");
  weights.labels_LD = source.floats("y_embedder.embedding_table.weight");
  weights.blocks.resize(static_cast<size_t>(config.depth));
  pool.run(config.depth, [&](int64_t layer, int) {
    weights.blocks[static_cast<size_t>(layer)] = load.block(layer);
  });
  pool.run(config.depth * config.experts, [&](int64_t i, int) {
    const int64_t layer = i / config.experts;
    BlockWeights& block = weights.blocks[static_cast<size_t>(layer)];
    if (!block.routed) return;
    const int64_t expert = i % config.experts;
    block.routed->experts[static_cast<size_t>(expert)] = load.expert(layer, expert);
  });
  weights.final_modulation = load.one(final_modulation_group(config, source.precision()));
  weights.final_linear = load.plain("final_layer.linear");
  return weights;
}

}  // namespace ditmoe::networks
