#include "ditmoe/training/dit_module.h"

#include <cmath>

#include <torch/torch.h>

#include "ditmoe/autograd/linear.h"
#include "ditmoe/autograd/modulation.h"
#include "ditmoe/autograd/recompute.h"

namespace ditmoe::training {
namespace {

constexpr int64_t kFrequencies = 128;

}  // namespace

at::Tensor timestep_embedding(const at::Tensor& t_N) {
  const at::Tensor step_F = at::arange(kFrequencies, t_N.options());
  const at::Tensor frequency_F = at::exp(step_F * (-std::log(10000.0) / kFrequencies));
  const at::Tensor angle_NF = t_N.unsqueeze(1) * frequency_F.unsqueeze(0);
  return at::cat({angle_NF.cos(), angle_NF.sin()}, 1);
}

DitModule::DitModule(const networks::DitConfig& config,
                     const ParameterSet& parameters,
                     const ModuleOptions& options)
    : config_(config),
      parameters_(parameters),
      options_(options),
      engine_(options.kernels, options.precision),
      patch_{parameters.joined("x_embedder.proj.weight", {config.width, -1}),
             parameters["x_embedder.proj.bias"]},
      time0_(affine("t_embedder.mlp.0")),
      time2_(affine("t_embedder.mlp.2")),
      final_linear_(affine("final_layer.linear")),
      final_modulation_(affine("final_layer.adaLN_modulation.1")),
      label_table_(parameters["y_embedder.embedding_table.weight"]) {
  if (parameters.half().defined()) {
    engine_.use_half_weights(parameters.values(), parameters.half());
  }
  for (int64_t layer = 0; layer < config.depth; ++layer) blocks_.push_back(make_block(layer));
}

DitModule::Affine DitModule::affine(const std::string& name) const {
  return {parameters_[name + ".weight"], parameters_[name + ".bias"]};
}

autograd::SwigluWeights DitModule::swiglu_weights(const std::string& prefix, int64_t hidden) const {
  return {parameters_.joined(prefix, {-1}), config_.width, hidden};
}

DitModule::Block DitModule::make_block(int64_t layer) const {
  const std::string prefix = fmt::format("blocks.{}.", layer);
  Block block;
  block.qkv = affine(prefix + "attn.qkv");
  block.proj = affine(prefix + "attn.proj");
  if (config_.qk_norm) {
    const Affine q = affine(prefix + "attn.q_norm");
    const Affine k = affine(prefix + "attn.k_norm");
    block.qk_norm = {q.weight, q.bias, k.weight, k.bias};
  }
  block.modulation = affine(prefix + "adaLN_modulation.1");
  if (config_.time_experts > 0) {
    const std::string router = fmt::format("routers.{}.", layer);
    block.time_gate = affine(router + "f_gate.1");
    block.time_experts_EIO = parameters_[router + "experts.w"];
    block.time_bias_EO = parameters_[router + "experts.b"];
  }
  add_feed_forward(layer, block);
  return block;
}

void DitModule::add_feed_forward(int64_t layer, Block& block) const {
  const std::string prefix = fmt::format("blocks.{}.", layer);
  block.is_moe = config_.is_moe(layer);
  if (block.is_moe) {
    block.router_ED = parameters_[prefix + "moe.gate.weight"];
    if (config_.router_bias) {
      block.router_bias_E = parameters_[prefix + "moe.gate." + networks::kRouterBias];
    }
    block.experts = swiglu_weights(prefix + "moe.experts.", config_.routed_width());
    if (config_.shared_experts > 0) {
      block.dense = swiglu_weights(prefix + "moe.shared_experts.", config_.shared_width());
    }
  } else if (config_.feed_forward == networks::FeedForward::kGelu) {
    block.fc1 = affine(prefix + "mlp.fc1");
    block.fc2 = affine(prefix + "mlp.fc2");
  } else {
    block.dense = swiglu_weights(prefix + "mlp.", config_.dense_width());
  }
}

// In f32.
at::Tensor DitModule::linear(const at::Tensor& x_NI, const Affine& layer) const {
  return autograd::linear(engine_, x_NI, layer.weight, layer.bias);
}

// In the module's precision; narrow: the result too.
at::Tensor DitModule::product(const at::Tensor& x_NI, const Affine& layer, bool narrow) const {
  return autograd::linear(engine_, x_NI, layer.weight, layer.bias, {options_.precision, narrow});
}

at::Tensor DitModule::embed_patches(const at::Tensor& x) const {
  const int64_t batch = x.size(0);
  const int64_t grid = config_.grid();
  const int64_t patch = config_.patch_size;
  const at::Tensor patches_NP = x.view({batch, config_.channels, grid, patch, grid, patch})
                                    .permute({0, 2, 4, 1, 3, 5})
                                    .reshape({batch * grid * grid, -1});
  const at::Tensor h_ND = linear(patches_NP, patch_);
  return (h_ND.view({batch, config_.tokens(), config_.width}) + parameters_.pos_embed())
      .view({-1, config_.width});
}

at::Tensor DitModule::embed_time(const at::Tensor& t_B) const {
  return linear(at::silu(linear(timestep_embedding(t_B), time0_)), time2_);
}

at::Tensor DitModule::time_probabilities(const at::Tensor& t_B) const {
  const at::Tensor silu_time_BD = at::silu(embed_time(t_B));
  std::vector<at::Tensor> probabilities;
  for (const Block& block : blocks_) {
    probabilities.push_back(at::softmax(linear(silu_time_BD, block.time_gate), -1));
  }
  return at::cat(probabilities, 1);
}

// (m - 1) · x with the mask m = 1 + sum of p · (x W + b) over the experts that an image's time
// chooses. Their weighted sum is formed first: one product with x, however many experts.
at::Tensor DitModule::mask_by_time(const at::Tensor& x_ND,
                                   const at::Tensor& silu_time_BD,
                                   const Block& block,
                                   BlockOutput& result) const {
  const at::Tensor logits_BE = linear(silu_time_BD, block.time_gate);
  result.routing = autograd::route(engine_, logits_BE, {}, {.top_k = config_.time_top_k});
  result.time_probability_BE = at::softmax(logits_BE, -1);
  const at::Tensor chosen_BE =
      at::zeros_like(logits_BE).scatter(1, result.routing.index_NK, result.routing.weight_NK);
  const int64_t width = config_.width;
  const at::Tensor weight_BIO =
      at::matmul(chosen_BE, block.time_experts_EIO.flatten(1)).view({-1, width, width});
  const at::Tensor bias_BO = at::matmul(chosen_BE, block.time_bias_EO);
  const at::Tensor x_BTD = x_ND.view({-1, config_.tokens(), width});
  return (x_BTD * at::baddbmm(bias_BO.unsqueeze(1), x_BTD, weight_BIO)).view({-1, width});
}

at::Tensor DitModule::attention(const at::Tensor& x_ND, const Block& block) const {
  const at::Tensor mixed_ND = autograd::attention(engine_,
                                                  product(x_ND, block.qkv, /*narrow=*/true),
                                                  config_.tokens(),
                                                  config_.heads,
                                                  block.qk_norm);
  return product(mixed_ND, block.proj, /*narrow=*/false);
}

at::Tensor DitModule::moe(const at::Tensor& x_ND, const Block& block, BlockOutput& result) const {
  const at::Tensor logits_NE = autograd::linear(engine_, x_ND, block.router_ED, {});
  const int64_t images = x_ND.size(0) / config_.tokens();
  const bool by_image = config_.balance_pool == networks::BalancePool::kSequence;
  result.routing = autograd::route(engine_,
                                   logits_NE,
                                   block.router_bias_E,
                                   {.score = config_.router_score,
                                    .renormalise = config_.renormalise,
                                    .top_k = config_.top_k,
                                    .balance_factor = config_.balance_factor,
                                    .pools = by_image ? images : 1});
  result.balance_loss = result.routing.balance_loss;
  const at::Tensor out_ND = autograd::routed_swiglu(
      engine_, x_ND, result.routing.index_NK, result.routing.weight_NK, block.experts);
  return block.dense.hidden == 0 ? out_ND : out_ND + autograd::swiglu(engine_, x_ND, block.dense);
}

at::Tensor DitModule::feed_forward(const at::Tensor& x_ND,
                                   const Block& block,
                                   BlockOutput& result) const {
  if (block.is_moe) return moe(x_ND, block, result);
  if (block.dense.hidden > 0) return autograd::swiglu(engine_, x_ND, block.dense);
  return product(at::gelu(product(x_ND, block.fc1, /*narrow=*/true), "tanh"), block.fc2, false);
}

DitModule::BlockOutput DitModule::run_block(const Block& block,
                                            const at::Tensor& h_ND,
                                            const at::Tensor& silu_c_BD,
                                            const at::Tensor& silu_time_BD) const {
  BlockOutput result;
  at::Tensor x_ND = h_ND;
  at::Tensor masked_ND;
  if (config_.time_experts > 0) {
    masked_ND = mask_by_time(h_ND, silu_time_BD, block, result);
    x_ND = x_ND + masked_ND;
  }
  // shift, scale and gate of attention, then of the feed-forward
  const std::vector<at::Tensor> mod = linear(silu_c_BD, block.modulation).chunk(6, 1);
  const at::Tensor mixed_ND =
      attention(autograd::norm_modulate(engine_, x_ND, mod[0], mod[1]), block);
  x_ND = autograd::gated_residual(engine_, x_ND, mod[2], mixed_ND);
  const at::Tensor update_ND =
      feed_forward(autograd::norm_modulate(engine_, x_ND, mod[3], mod[4]), block, result);
  x_ND = autograd::gated_residual(engine_, x_ND, mod[5], update_ND);
  result.h_ND = masked_ND.defined() ? x_ND - masked_ND : x_ND;
  return result;
}

DitModule::BlockOutput DitModule::run_recomputed(const Block& block,
                                                 const at::Tensor& h_ND,
                                                 const at::Tensor& silu_c_BD,
                                                 const at::Tensor& silu_time_BD) const {
  BlockOutput first;  // of the forward pass
  const auto outputs = [](const BlockOutput& output) {
    torch::autograd::variable_list list = {output.h_ND};
    if (output.balance_loss.defined()) list.push_back(output.balance_loss);
    if (output.time_probability_BE.defined()) list.push_back(output.time_probability_BE);
    return list;
  };
  const torch::autograd::variable_list list = autograd::recompute(
      [this, &block, &first, outputs](const torch::autograd::variable_list& in, bool again) {
        BlockOutput output = run_block(block, in[0], in[1], in[2]);
        if (!again) first = output;
        return outputs(output);
      },
      {h_ND, silu_c_BD, silu_time_BD});
  first.h_ND = list[0];
  if (first.balance_loss.defined()) first.balance_loss = list[1];
  if (first.time_probability_BE.defined()) first.time_probability_BE = list.back();
  return first;
}

at::Tensor DitModule::final_layer(const at::Tensor& h_ND, const at::Tensor& silu_c_BD) const {
  const std::vector<at::Tensor> modulation = linear(silu_c_BD, final_modulation_).chunk(2, 1);
  const at::Tensor patches =
      linear(autograd::norm_modulate(engine_, h_ND, modulation[0], modulation[1]), final_linear_);
  const int64_t grid = config_.grid();
  const int64_t patch = config_.patch_size;
  return patches.view({-1, grid, grid, patch, patch, config_.output_channels()})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({-1, config_.output_channels(), config_.image_size, config_.image_size});
}

DitOutput DitModule::forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) const {
  DitOutput result;
  at::Tensor h_ND = embed_patches(x);
  const at::Tensor time_BD = embed_time(t);
  const at::Tensor silu_c_BD = at::silu(time_BD + label_table_.index_select(0, y));
  const at::Tensor silu_time_BD = at::silu(time_BD);
  std::vector<at::Tensor> probabilities;
  const bool recompute = options_.recompute && at::GradMode::is_enabled();
  for (const Block& block : blocks_) {
    const BlockOutput output = recompute ? run_recomputed(block, h_ND, silu_c_BD, silu_time_BD)
                                         : run_block(block, h_ND, silu_c_BD, silu_time_BD);
    h_ND = output.h_ND;
    if (output.balance_loss.defined()) result.balance_losses.push_back(output.balance_loss);
    if (output.time_probability_BE.defined()) probabilities.push_back(output.time_probability_BE);
    if (!output.routing.index_NK.defined()) continue;
    result.expert_counts_E.push_back(output.routing.counts_E);
    result.route_index_NK.push_back(output.routing.index_NK);
    result.route_weight_NK.push_back(output.routing.weight_NK.detach());
  }
  if (!probabilities.empty()) result.time_probabilities_BX = at::cat(probabilities, 1);
  result.out = final_layer(h_ND, silu_c_BD);
  return result;
}

}  // namespace ditmoe::training
