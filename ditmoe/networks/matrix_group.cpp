#include "ditmoe/networks/matrix_group.h"

#include <fmt/format.h>

namespace ditmoe::networks {
namespace {

using kernels::Precision;

// The modulation's errors would reach every token, and it is small: 8 bits are not worth it.
Precision modulation_precision(Precision precision) {
  return precision == Precision::kF32 ? precision : Precision::kBf16;
}

MatrixGroup whole(
    const std::string& name, bool bias, int64_t outputs, int64_t inputs, Precision precision) {
  return {name, {name}, bias, outputs, inputs, outputs, precision};
}

std::vector<MatrixGroup> swiglu(const std::string& name,
                                int64_t hidden,
                                int64_t width,
                                Precision precision) {
  return {{name + ".gate_up",
           {name + ".gate_proj", name + ".up_proj"},
           false,
           hidden,
           width,
           kHiddenChunk,
           precision},
          whole(name + ".down_proj", false, width, hidden, precision)};
}

}  // namespace

BlockGroups::BlockGroups(const DitConfig& config, int64_t layer, Precision precision) {
  const std::string name = fmt::format("blocks.{}.", layer);
  const int64_t width = config.width;
  modulation =
      whole(name + "adaLN_modulation.1", true, 6 * width, width, modulation_precision(precision));
  qkv = whole(name + "attn.qkv", true, 3 * width, width, precision);
  // Rounded from sums of 4 bytes, which should stay in the cache.
  if (precision != Precision::kF32) qkv.chunk = width;
  proj = whole(name + "attn.proj", true, width, width, precision);
  if (config.time_experts > 0) {
    time_experts = {whole(fmt::format("routers.{}.experts", layer),
                          true,
                          config.time_experts * width,
                          width,
                          precision)};
    time_experts.front().chunk = width;
    time_experts.front().is_by_input = true;
  }
  if (config.is_moe(layer)) {
    if (config.shared_experts == 0) return;
    feed_forward = swiglu(name + "moe.shared_experts", config.shared_width(), width, precision);
  } else if (config.feed_forward == FeedForward::kGelu) {
    const int64_t hidden = config.dense_width();
    feed_forward = {whole(name + "mlp.fc1", true, hidden, width, precision),
                    whole(name + "mlp.fc2", true, width, hidden, precision)};
    feed_forward.front().chunk = kHiddenChunk;
  } else {
    feed_forward = swiglu(name + "mlp", config.dense_width(), width, precision);
  }
}

std::vector<MatrixGroup> expert_groups(const DitConfig& config,
                                       int64_t layer,
                                       int64_t expert,
                                       Precision precision) {
  return swiglu(fmt::format("blocks.{}.moe.experts.{}", layer, expert),
                config.routed_width(),
                config.width,
                precision);
}

MatrixGroup final_modulation_group(const DitConfig& config, Precision precision) {
  return whole("final_layer.adaLN_modulation.1",
               true,
               2 * config.width,
               config.width,
               modulation_precision(precision));
}

std::vector<std::string> plain_tensors(const DitConfig& config) {
  std::vector<std::string> names = {"pos_embed",
                                    "x_embedder.proj.weight",
                                    "x_embedder.proj.bias",
                                    "t_embedder.mlp.0.weight",
                                    "t_embedder.mlp.0.bias",
                                    "t_embedder.mlp.2.weight",
                                    "t_embedder.mlp.2.bias",
                                    "y_embedder.embedding_table.weight",
                                    "final_layer.linear.weight",
                                    "final_layer.linear.bias"};
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    const std::string name = fmt::format("blocks.{}.", layer);
    if (config.qk_norm) {
      for (const char* part : {"q_norm.weight", "q_norm.bias", "k_norm.weight", "k_norm.bias"}) {
        names.push_back(name + "attn." + part);
      }
    }
    if (config.is_moe(layer)) names.push_back(name + "moe.gate.weight");
    if (config.router_bias && config.is_moe(layer)) {
      names.push_back(name + "moe.gate." + kRouterBias);
    }
    if (config.time_experts > 0) {
      const std::string gate = fmt::format("routers.{}.f_gate.1.", layer);
      names.insert(names.end(), {gate + "weight", gate + "bias"});
    }
  }
  return names;
}

}  // namespace ditmoe::networks
