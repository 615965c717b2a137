#include "ditmoe/networks/config_inference.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/networks/diffusers_dit.h"
#include "ditmoe/networks/switch_prior.h"

namespace ditmoe::networks {
namespace {

// Finds out one group of fields after another.
class Inference {
 public:
  Inference(const ShapeTable& table,
            const ModelOverrides& overrides,
            const std::map<std::string, std::string>& arguments,
            const std::string& source)
      : table_(table), overrides_(overrides), arguments_(arguments), source_(source) {}

  DitConfig run() {
    infer_input();
    infer_feed_forward();
    infer_time_experts();
    infer_output();
    infer_heads();
    return config_;
  }

 private:
  // Shape of a tensor that must be there, its dimensions small enough to multiply any two.
  const base::Shape& shape(const std::string& name, size_t rank) const {
    const auto found = table_.find(name);
    if (found == table_.end()) {
      base::bad_input("{}: expected tensor '{}', as every DiT has it, found none", source_, name);
    }
    const base::Shape& result = found->second.shape;
    const bool sane =
        std::ranges::all_of(result, [](int64_t dim) { return dim >= 1 && dim < int64_t{1} << 31; });
    if (result.size() != rank || !sane) misshapen(name, fmt::format("{} dimensions", rank));
    return result;
  }

  bool contains(const std::string& name) const { return table_.contains(name); }

  [[noreturn]] void misshapen(const std::string& name, const std::string& expected) const {
    const NamedShape& tensor = table_.at(name);
    base::bad_input("{}: tensor '{}': expected {}, found {}",
                    source_,
                    tensor.name_in_file,
                    expected,
                    base::to_string(tensor.shape));
  }

  void infer_input() {
    const int64_t tokens = shape("pos_embed", 3)[1];
    const auto grid = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(tokens))));
    if (grid * grid != tokens) misshapen("pos_embed", "a square number of tokens");
    config_.width = shape("pos_embed", 3)[2];
    const base::Shape& patches = shape("x_embedder.proj.weight", 4);
    config_.channels = patches[1];
    config_.patch_size = patches[2];
    config_.image_size = grid * config_.patch_size;
    config_.num_classes = shape("y_embedder.embedding_table.weight", 2)[0] - 1;
    config_.depth = 0;
    while (contains(fmt::format("blocks.{}.attn.qkv.weight", config_.depth))) ++config_.depth;
  }

  void infer_output() {
    const std::string name = "final_layer.linear.weight";
    const int64_t rows = shape(name, 2)[0];
    const int64_t patch_area = config_.patch_size * config_.patch_size;
    const int64_t channels = rows / patch_area;
    config_.learn_sigma = channels == 2 * config_.channels;
    if (rows % patch_area != 0 || (!config_.learn_sigma && channels != config_.channels)) {
      misshapen(name,
                fmt::format("{0}x{0} patches of {1} or {2} channels",
                            config_.patch_size,
                            config_.channels,
                            2 * config_.channels));
    }
    config_.objective = overrides_.objective.value_or(
        says("args.rf", "true") ? Objective::kRectifiedFlow : Objective::kDdpm);
    if (!overrides_.objective && !config_.learn_sigma && !arguments_.contains("args.rf")) {
      base::bad_input(
          "{}: without a predicted variance the file does not tell what it was trained "
          "for; give --objective ddpm or --objective rf",
          source_);
    }
  }

  void infer_heads() {
    const std::string norm = "blocks.0.attn.q_norm.weight";
    config_.qk_norm = contains(norm);
    if (overrides_.heads) {
      config_.heads = *overrides_.heads;
    } else if (config_.qk_norm) {
      config_.heads = config_.width / shape(norm, 1)[0];
    } else if (const auto told = number(kDiffusersHeads, config_.width)) {
      config_.heads = *told;
    } else if (const auto heads = preset_heads(config_.depth, config_.width)) {
      config_.heads = *heads;
    } else {
      base::bad_input(
          "{}: the file does not tell the number of attention heads, and no preset has "
          "depth {} and width {}; give --heads N",
          source_,
          config_.depth,
          config_.width);
    }
  }

  void infer_feed_forward() {
    std::vector<int64_t> moe_layers;
    for (int64_t layer = 0; layer < config_.depth; ++layer) {
      if (contains(fmt::format("blocks.{}.moe.gate.weight", layer))) moe_layers.push_back(layer);
    }
    const std::string dense = "blocks.0.mlp.gate_proj.weight";
    if (!moe_layers.empty()) {
      infer_moe(moe_layers);
    } else if (contains(dense)) {
      config_.feed_forward = FeedForward::kSwiglu;
      set_expert_width(shape(dense, 2)[0]);
      config_.top_k = 1;
      config_.shared_experts = 0;
    } else {
      config_.feed_forward = FeedForward::kGelu;
    }
  }

  void infer_moe(const std::vector<int64_t>& moe_layers) {
    config_.feed_forward = FeedForward::kMoe;
    const std::string moe = fmt::format("blocks.{}.moe.", moe_layers[0]);
    config_.experts = shape(moe + "gate.weight", 2)[0];
    set_expert_width(shape(moe + "experts.0.gate_proj.weight", 2)[0]);
    config_.shared_experts = 0;
    if (const std::string shared = moe + "shared_experts.gate_proj.weight"; contains(shared)) {
      const int64_t shared_width = shape(shared, 2)[0];
      if (shared_width % config_.width != 0) {
        misshapen(shared, fmt::format("a multiple of {} rows", config_.width));
      }
      config_.shared_experts = shared_width / config_.width;
    }
    infer_placement(moe_layers);
    config_.top_k = overrides_.top_k.value_or(implied_top_k());
  }

  void infer_time_experts() {
    const std::string experts = "routers.0.experts.w";
    if (!contains(experts)) return;
    config_.time_experts = shape(experts, 3)[0];
    config_.time_top_k =
        overrides_.top_k.value_or(number(kPriorTopK, config_.time_experts)
                                      .value_or(std::min<int64_t>(2, config_.time_experts)));
  }

  // As published, 4·width is stored as 0.
  void set_expert_width(int64_t expert_width) {
    config_.expert_width = expert_width == 4 * config_.width ? 0 : expert_width;
  }

  void infer_placement(const std::vector<int64_t>& moe_layers) {
    for (const MoePlacement placement :
         {MoePlacement::kEvery, MoePlacement::kAlternate, MoePlacement::kDeepHalf}) {
      config_.moe_placement = placement;
      std::vector<int64_t> expected;
      for (int64_t layer = 0; layer < config_.depth; ++layer) {
        if (config_.is_moe(layer)) expected.push_back(layer);
      }
      if (expected == moe_layers) return;
    }
    base::bad_input(
        "{}: expected experts in every block, every other or the deeper half, found "
        "them in {} of {} blocks, the first of them block {}",
        source_,
        moe_layers.size(),
        config_.depth,
        moe_layers[0]);
  }

  // Dense blocks are as wide as what a MoE block activates: routed_width·top_k + shared_width.
  int64_t implied_top_k() const {
    const std::string dense = "blocks.0.mlp.gate_proj.weight";
    if (!contains(dense)) {
      return number("args.num_experts_per_tok", config_.experts)
          .value_or(std::min<int64_t>(2, config_.experts));
    }
    return (shape(dense, 2)[0] - config_.shared_width()) / config_.routed_width();
  }

  bool says(const std::string& argument, std::string_view value) const {
    const auto found = arguments_.find(argument);
    return found != arguments_.end() && found->second == value;
  }

  // A number from 1 to most; nullopt where the file does not say it or something impossible.
  std::optional<int64_t> number(const std::string& argument, int64_t most) const {
    const auto found = arguments_.find(argument);
    if (found == arguments_.end()) return std::nullopt;
    const std::string& text = found->second;
    int64_t value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool is_possible =
        error == std::errc() && rest == text.data() + text.size() && value >= 1 && value <= most;
    return is_possible ? std::optional(value) : std::nullopt;
  }

  const ShapeTable& table_;
  const ModelOverrides& overrides_;
  const std::map<std::string, std::string>& arguments_;
  const std::string& source_;
  DitConfig config_;
};

}  // namespace

DitConfig infer_config(const ShapeTable& table,
                       const ModelOverrides& overrides,
                       const std::map<std::string, std::string>& arguments,
                       const std::string& source) {
  return Inference(table, overrides, arguments, source).run();
}

}  // namespace ditmoe::networks
