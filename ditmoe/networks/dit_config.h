#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ditmoe/base/json.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/kernels/router.h"

namespace ditmoe::networks {

// Width of the sinusoidal time embedding, half cosines and half sines, before its MLP.
inline constexpr int64_t kTimeFrequencies = 256;

// The bias of a router in a tensor's name, behind "blocks.N.moe.gate."; DeepSeek-V3's name.
inline constexpr const char* kRouterBias = "e_score_correction_bias";

// What follows attention in a block.
enum class FeedForward {
  kMoe,     // routed SwiGLU experts plus shared experts (DiT-MoE)
  kGelu,    // two linear layers with GELU(tanh) and biases (DiT)
  kSwiglu,  // one SwiGLU as wide as what a MoE activates: the dense control
};

// Which blocks of a MoE network are sparse; the others hold the dense control's SwiGLU.
enum class MoePlacement { kEvery, kAlternate, kDeepHalf };

// What the network was trained to predict, and so which samplers and which time it takes.
enum class Objective {
  kDdpm,           // noise (and variance) at integer steps 0..999
  kRectifiedFlow,  // velocity noise - x at a fraction of time in [0, 1]
};

// Over which tokens the balance loss pools its statistics.
enum class BalancePool {
  kSequence,  // one image's tokens: the published formula, exact under accumulation
  kBatch,     // the whole batch: what the reference code does
};

// The whole architecture of one DiT-MoE, DiT or dense control. Dimensions in the shape suffixes of
// this project: B batch, T tokens, D width, H heads, E experts, K top-k, F expert width.
struct DitConfig {
  int64_t image_size = 32;  // height and width of x, in pixels or latents
  int64_t patch_size = 2;
  int64_t channels = 4;
  int64_t width = 384;
  int64_t depth = 12;
  int64_t heads = 6;
  int64_t num_classes = 1000;  // without the null label
  FeedForward feed_forward = FeedForward::kMoe;
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t shared_experts = 2;
  int64_t expert_width = 0;  // F; 0 means 4·width
  MoePlacement moe_placement = MoePlacement::kEvery;
  kernels::RouterScore router_score = kernels::RouterScore::kSoftmax;
  bool renormalise = false;  // a token's weights are divided by their sum
  // Whether routers have a bias per expert that only choosing adds to the scores. Training moves it
  // towards equal loads instead of, or beside, the balance loss (DeepSeek-V3, arXiv 2412.19437).
  bool router_bias = false;
  bool qk_norm = false;
  bool learn_sigma = true;
  Objective objective = Objective::kDdpm;
  double balance_factor = 0.005;
  BalancePool balance_pool = BalancePool::kSequence;
  // Experts before each block, chosen by the timestep alone, and how many of them an image takes
  // (Switch-DiT, Park et al., arXiv 2403.09176); 0 without. Only beside a dense feed-forward.
  int64_t time_experts = 0;
  int64_t time_top_k = 0;

  int64_t head_dim() const { return width / heads; }

  int64_t grid() const { return image_size / patch_size; }

  int64_t tokens() const { return grid() * grid(); }

  int64_t output_channels() const { return learn_sigma ? 2 * channels : channels; }

  // Width of one routed expert.
  int64_t routed_width() const { return expert_width > 0 ? expert_width : 4 * width; }

  // Width of the one SwiGLU that holds the shared experts: shared_experts · width; 0 without.
  int64_t shared_width() const { return shared_experts * width; }

  // Hidden width of the dense feed-forward: 4·width for GELU; for SwiGLU what a MoE activates,
  // routed_width() · top_k + shared_width().
  int64_t dense_width() const;

  // True where block `layer` routes to experts: all, the odd ones, or those from depth/2 on.
  bool is_moe(int64_t layer) const;

  // Throws bad_input, naming source and key, for an architecture that cannot be or that is beyond
  // the limits that keep every count of parameters and operations within 64 bits.
  void validate(const std::string& source = "model configuration") const;

  bool operator==(const DitConfig&) const = default;
};

// Name of one weight and its shape.
struct TensorSpec {
  std::string name;
  base::Shape shape;
};

// Every tensor of a network in canonical spelling and order (pos_embed first).
std::vector<TensorSpec> tensor_specs(const DitConfig& config);

// Exact number of parameters, the fixed position embedding and the null label included.
int64_t total_parameters(const DitConfig& config);

// The same, counting only top_k of the routed experts in each MoE block and time_top_k of the
// experts before each block.
int64_t activated_parameters(const DitConfig& config);

// Multiply-accumulates of one forward of one image: products and attention, no element-wise work.
int64_t forward_macs(const DitConfig& config);

// JSON of the configuration as stored in our files under "ditmoe.config"; keys are the field names,
// enumerations are words ("moe", "gelu", "swiglu"; "every", "alternate", "deep_half"; "ddpm", "rf";
// "sequence", "batch"; "softmax", "sigmoid"). What other programs do not know (time_experts,
// time_top_k, router_score, renormalise, router_bias) is left out where it is not used.
base::Json to_json(const DitConfig& config);

// Inverse of to_json. Missing keys keep their defaults; unknown keys and wrong types throw
// bad_input naming source and key.
DitConfig dit_config_from_json(const base::Json& json, const std::string& source);

// "<size>/<patch>-<experts>E<top-k>A" ("S/2-8E2A", "G/2-16E2A"); without suffix the dense GELU
// network ("S/2"); with "-swiglu" the dense control of a MoE with top-2; with "-switch" the
// Switch-DiT of three experts, top-2. Sizes S, B, L, XL, G; patches 2, 4 and 8; 256² latents
// (32x32x4). Throws bad_input with the form for an unknown name.
DitConfig preset(std::string_view name);

// Heads of the preset of this depth and width; nullopt where there is none.
std::optional<int64_t> preset_heads(int64_t depth, int64_t width);

// Names of all presets of the paper, in order of size.
std::vector<std::string> preset_names();

// Whether name is one that preset takes.
bool is_preset(std::string_view name);

// Words of the enumerations, and back (bad_input naming what, the words allowed and what was
// found).
std::string_view to_word(FeedForward value);
std::string_view to_word(MoePlacement value);
std::string_view to_word(Objective value);
std::string_view to_word(BalancePool value);
std::string_view to_word(kernels::RouterScore value);
FeedForward feed_forward_from(std::string_view word, const std::string& what);
MoePlacement moe_placement_from(std::string_view word, const std::string& what);
Objective objective_from(std::string_view word, const std::string& what);
BalancePool balance_pool_from(std::string_view word, const std::string& what);
kernels::RouterScore router_score_from(std::string_view word, const std::string& what);

}  // namespace ditmoe::networks
