#include "ditmoe/networks/dit_config.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

// Collects names and shapes of one network in canonical order.
class SpecList {
 public:
  void add(std::string name, base::Shape shape) {
    specs_.push_back({std::move(name), std::move(shape)});
  }

  void add_linear(const std::string& name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  }

  void add_norm(const std::string& name, int64_t width) {
    add(name + ".weight", {width});
    add(name + ".bias", {width});
  }

  void add_swiglu(const std::string& name, int64_t width, int64_t hidden) {
    add(name + ".gate_proj.weight", {hidden, width});
    add(name + ".up_proj.weight", {hidden, width});
    add(name + ".down_proj.weight", {width, hidden});
  }

  std::vector<TensorSpec> take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

void add_feed_forward(SpecList& list, const DitConfig& config, int64_t layer) {
  const std::string block = fmt::format("blocks.{}.", layer);
  const int64_t width = config.width;
  if (config.is_moe(layer)) {
    for (int64_t expert = 0; expert < config.experts; ++expert) {
      list.add_swiglu(fmt::format("{}moe.experts.{}", block, expert), width, config.routed_width());
    }
    list.add(block + "moe.gate.weight", {config.experts, width});
    if (config.router_bias) list.add(block + "moe.gate." + kRouterBias, {config.experts});
    if (config.shared_experts > 0) {
      list.add_swiglu(block + "moe.shared_experts", width, config.shared_width());
    }
  } else if (config.feed_forward == FeedForward::kGelu) {
    list.add_linear(block + "mlp.fc1", config.dense_width(), width);
    list.add_linear(block + "mlp.fc2", width, config.dense_width());
  } else {
    list.add_swiglu(block + "mlp", width, config.dense_width());
  }
}

// The name of the experts' weights, [E, inputs, outputs], is the reference's.
void add_time_experts(SpecList& list, const DitConfig& config, int64_t layer) {
  const std::string router = fmt::format("routers.{}.", layer);
  list.add_linear(router + "f_gate.1", config.time_experts, config.width);
  list.add(router + "experts.w", {config.time_experts, config.width, config.width});
  list.add(router + "experts.b", {config.time_experts, config.width});
}

int64_t count_moe_layers(const DitConfig& config) {
  int64_t count = 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) count += config.is_moe(layer) ? 1 : 0;
  return count;
}

}  // namespace

int64_t DitConfig::dense_width() const {
  return feed_forward == FeedForward::kGelu ? 4 * width : routed_width() * top_k + shared_width();
}

bool DitConfig::is_moe(int64_t layer) const {
  if (feed_forward != FeedForward::kMoe) return false;
  switch (moe_placement) {
    case MoePlacement::kEvery:
      return true;
    case MoePlacement::kAlternate:
      return layer % 2 == 1;
    case MoePlacement::kDeepHalf:
      return layer >= depth / 2;
  }
  return false;
}

void DitConfig::validate(const std::string& source) const {
  const auto check_range = [&](const char* key, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
      base::bad_input("{}: {} must be from {} to {}, found {}", source, key, low, high, value);
    }
  };
  check_range("image_size", image_size, 1, 8192);
  check_range("patch_size", patch_size, 1, image_size);
  check_range("channels", channels, 1, 4096);
  check_range("width", width, 4, 65536);
  check_range("depth", depth, 1, 1024);
  check_range("heads", heads, 1, width);
  check_range("num_classes", num_classes, 1, int64_t{1} << 24);
  const auto check_multiple = [&](const char* key, int64_t value, const char* of, int64_t divisor) {
    if (value % divisor != 0) {
      base::bad_input(
          "{}: {} must be a multiple of {} {}, found {}", source, key, of, divisor, value);
    }
  };
  check_multiple("image_size", image_size, "patch_size", patch_size);
  check_multiple("width", width, "heads", heads);
  // The position embedding has a sine and a cosine half for each of two axes.
  check_multiple("width", width, "the number", 4);
  const bool is_sparse = feed_forward == FeedForward::kMoe;
  check_range("experts", experts, is_sparse ? 1 : 0, 4096);
  check_range(
      "top_k", top_k, feed_forward == FeedForward::kGelu ? 0 : 1, is_sparse ? experts : 4096);
  check_range("shared_experts", shared_experts, 0, 256);
  check_range("expert_width", expert_width, 0, int64_t{1} << 20);
  if (feed_forward == FeedForward::kMoe && moe_placement == MoePlacement::kAlternate && depth < 2) {
    base::bad_input(
        "{}: moe_placement alternate needs depth of 2 or more, found {}", source, depth);
  }
  if (!std::isfinite(balance_factor) || balance_factor < 0) {
    base::bad_input("{}: balance_factor must not be negative, found {}", source, balance_factor);
  }
  if (router_bias && !is_sparse) {
    base::bad_input("{}: router_bias needs feed_forward moe", source);
  }
  check_range("time_experts", time_experts, 0, is_sparse ? 0 : 4096);
  check_range("time_top_k", time_top_k, std::min<int64_t>(1, time_experts), time_experts);
}

std::vector<TensorSpec> tensor_specs(const DitConfig& config) {
  SpecList list;
  const int64_t width = config.width;
  const int64_t patch = config.patch_size;
  list.add("pos_embed", {1, config.tokens(), width});
  list.add("x_embedder.proj.weight", {width, config.channels, patch, patch});
  list.add("x_embedder.proj.bias", {width});
  list.add_linear("t_embedder.mlp.0", width, kTimeFrequencies);
  list.add_linear("t_embedder.mlp.2", width, width);
  list.add("y_embedder.embedding_table.weight", {config.num_classes + 1, width});
  for (int64_t layer = 0; config.time_experts > 0 && layer < config.depth; ++layer) {
    add_time_experts(list, config, layer);
  }
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    const std::string block = fmt::format("blocks.{}.", layer);
    list.add_linear(block + "attn.qkv", 3 * width, width);
    if (config.qk_norm) {
      list.add_norm(block + "attn.q_norm", config.head_dim());
      list.add_norm(block + "attn.k_norm", config.head_dim());
    }
    list.add_linear(block + "attn.proj", width, width);
    add_feed_forward(list, config, layer);
    list.add_linear(block + "adaLN_modulation.1", 6 * width, width);
  }
  list.add_linear("final_layer.linear", patch * patch * config.output_channels(), width);
  list.add_linear("final_layer.adaLN_modulation.1", 2 * width, width);
  return list.take();
}

int64_t total_parameters(const DitConfig& config) {
  int64_t total = 0;
  for (const TensorSpec& spec : tensor_specs(config)) total += base::num_elements(spec.shape);
  return total;
}

int64_t activated_parameters(const DitConfig& config) {
  const int64_t idle_experts = count_moe_layers(config) * (config.experts - config.top_k);
  const int64_t idle_time_experts = config.depth * (config.time_experts - config.time_top_k);
  return total_parameters(config) - idle_experts * 3 * config.width * config.routed_width() -
         idle_time_experts * (config.width + 1) * config.width;
}

int64_t forward_macs(const DitConfig& config) {
  const int64_t width = config.width;
  const int64_t tokens = config.tokens();
  const int64_t patch_area = config.patch_size * config.patch_size;
  // Per image: timestep MLP and the final layer's modulation.
  int64_t macs = kTimeFrequencies * width + width * width + 2 * width * width;
  macs += tokens * patch_area * width * (config.channels + config.output_channels());
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    int64_t per_token = 4 * width * width + 2 * tokens * width;  // qkv and proj; QKᵀ and AV
    if (config.is_moe(layer)) {
      per_token += width * config.experts;
      per_token += 3 * width * (config.routed_width() * config.top_k + config.shared_width());
    } else {
      const int64_t products = config.feed_forward == FeedForward::kGelu ? 2 : 3;
      per_token += products * width * config.dense_width();
    }
    per_token += config.time_top_k * width * width;
    macs += tokens * per_token + (6 * width + config.time_experts) * width;
  }
  return macs;
}

}  // namespace ditmoe::networks
