#include "ditmoe/training/dit_module.h"

#include <cmath>

#include <torch/torch.h>

#include "ditmoe/autograd/permute.h"

namespace ditmoe::training {
namespace {

constexpr double kNormEpsilon = 1e-6;
constexpr int64_t kFrequencies = 128;

// LayerNorm without affine, then x·(1 + scale) + shift with one shift and scale per image.
at::Tensor norm_modulate(const at::Tensor& x_ND,
                         const at::Tensor& shift_BD,
                         const at::Tensor& scale_BD) {
  const int64_t batch = shift_BD.size(0);
  const int64_t width = x_ND.size(1);
  const at::Tensor normed_BTD =
      at::layer_norm(x_ND, {width}, {}, {}, kNormEpsilon).view({batch, -1, width});
  const at::Tensor scaled_BTD =
      at::addcmul(shift_BD.unsqueeze(1), normed_BTD, (scale_BD + 1.0).unsqueeze(1));
  return scaled_BTD.view({-1, width});
}

// x + gate·update with one gate per image.
at::Tensor gated_residual(const at::Tensor& x_ND,
                          const at::Tensor& gate_BD,
                          const at::Tensor& update_ND) {
  const int64_t batch = gate_BD.size(0);
  const int64_t width = x_ND.size(1);
  const at::Tensor x_BTD = x_ND.view({batch, -1, width});
  const at::Tensor update_BTD = update_ND.view({batch, -1, width});
  return at::addcmul(x_BTD, update_BTD, gate_BD.unsqueeze(1)).view({-1, width});
}

struct Routing {
  at::Tensor probabilities_NE;
  at::Tensor index_NK;
  at::Tensor weight_NK;
};

// Softmax, the K largest (ties to the lowest index), sorted by expert index.
Routing route(const at::Tensor& logits_NE, int64_t top_k) {
  Routing routing;
  routing.probabilities_NE = at::softmax(logits_NE, -1);
  const auto sorted =
      at::sort(routing.probabilities_NE.detach(), /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const at::Tensor best_NK = std::get<1>(sorted).narrow(1, 0, top_k);
  routing.index_NK = std::get<0>(at::sort(best_NK, -1)).contiguous();
  routing.weight_NK = routing.probabilities_NE.gather(1, routing.index_NK);
  return routing;
}

}  // namespace

at::Tensor timestep_embedding(const at::Tensor& t_N) {
  const at::Tensor step_F = at::arange(kFrequencies, t_N.options());
  const at::Tensor frequency_F = at::exp(step_F * (-std::log(10000.0) / kFrequencies));
  const at::Tensor angle_NF = t_N.unsqueeze(1) * frequency_F.unsqueeze(0);
  return at::cat({angle_NF.cos(), angle_NF.sin()}, 1);
}

at::Tensor balance_loss(const at::Tensor& probabilities_NE,
                        const at::Tensor& index_NK,
                        int64_t batch,
                        double factor,
                        networks::BalancePool pool) {
  const int64_t experts = probabilities_NE.size(1);
  const int64_t pools = pool == networks::BalancePool::kSequence ? batch : 1;
  const at::Tensor chosen_NE = at::zeros_like(probabilities_NE.detach()).scatter_(1, index_NK, 1.0);
  const double scale = static_cast<double>(experts) / static_cast<double>(index_NK.size(1));
  const at::Tensor fraction_PE = chosen_NE.view({pools, -1, experts}).mean(1) * scale;
  const at::Tensor mean_PE = probabilities_NE.view({pools, -1, experts}).mean(1);
  return (fraction_PE * mean_PE).sum(1).mean() * factor;
}

DitModule::DitModule(const networks::DitConfig& config,
                     const ParameterSet& parameters,
                     Kernels kernels)
    : config_(config),
      parameters_(parameters),
      kernels_(kernels),
      patch_(affine("x_embedder.proj")),
      time0_(affine("t_embedder.mlp.0")),
      time2_(affine("t_embedder.mlp.2")),
      final_linear_(affine("final_layer.linear")),
      final_modulation_(affine("final_layer.adaLN_modulation.1")),
      label_table_(parameters["y_embedder.embedding_table.weight"]) {
  for (int64_t layer = 0; layer < config.depth; ++layer) blocks_.push_back(make_block(layer));
}

DitModule::Affine DitModule::affine(const std::string& name) const {
  return {parameters_[name + ".weight"], parameters_[name + ".bias"]};
}

autograd::SwigluWeights DitModule::swiglu_weights(const std::string& name) const {
  return {parameters_[name + ".gate_proj.weight"],
          parameters_[name + ".up_proj.weight"],
          parameters_[name + ".down_proj.weight"]};
}

DitModule::Block DitModule::make_block(int64_t layer) const {
  const std::string prefix = fmt::format("blocks.{}.", layer);
  Block block;
  block.qkv = affine(prefix + "attn.qkv");
  block.proj = affine(prefix + "attn.proj");
  if (config_.qk_norm) {
    block.q_norm = affine(prefix + "attn.q_norm");
    block.k_norm = affine(prefix + "attn.k_norm");
  }
  block.modulation = affine(prefix + "adaLN_modulation.1");
  if (config_.time_experts > 0) {
    const std::string router = fmt::format("routers.{}.", layer);
    block.time_gate = affine(router + "f_gate.1");
    block.time_experts_EIO = parameters_[router + "experts.w"];
    block.time_bias_EO = parameters_[router + "experts.b"];
  }
  block.is_moe = config_.is_moe(layer);
  if (block.is_moe) {
    block.router_ED = parameters_[prefix + "moe.gate.weight"];
    for (int64_t e = 0; e < config_.experts; ++e) {
      block.experts.push_back(swiglu_weights(fmt::format("{}moe.experts.{}", prefix, e)));
    }
    if (config_.shared_experts > 0) {
      block.dense.push_back(swiglu_weights(prefix + "moe.shared_experts"));
    }
  } else if (config_.feed_forward == networks::FeedForward::kGelu) {
    block.fc1 = affine(prefix + "mlp.fc1");
    block.fc2 = affine(prefix + "mlp.fc2");
  } else {
    block.dense.push_back(swiglu_weights(prefix + "mlp"));
  }
  return block;
}

at::Tensor DitModule::linear(const at::Tensor& x_NI, const Affine& layer) const {
  return autograd::linear(x_NI, layer.weight, layer.bias, kernels_);
}

at::Tensor DitModule::embed_patches(const at::Tensor& x) const {
  const int64_t batch = x.size(0);
  const int64_t grid = config_.grid();
  const int64_t patch = config_.patch_size;
  const at::Tensor patches_NP = x.view({batch, config_.channels, grid, patch, grid, patch})
                                    .permute({0, 2, 4, 1, 3, 5})
                                    .reshape({batch * grid * grid, -1});
  const Affine flattened = {patch_.weight.view({config_.width, -1}), patch_.bias};
  const at::Tensor h_ND = linear(patches_NP, flattened);
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
                                   DitOutput& result) const {
  const Routing routing = route(linear(silu_time_BD, block.time_gate), config_.time_top_k);
  const at::Tensor chosen_BE =
      at::zeros_like(routing.probabilities_NE).scatter(1, routing.index_NK, routing.weight_NK);
  const int64_t width = config_.width;
  const at::Tensor weight_BIO =
      at::matmul(chosen_BE, block.time_experts_EIO.flatten(1)).view({-1, width, width});
  const at::Tensor bias_BO = at::matmul(chosen_BE, block.time_bias_EO);
  const at::Tensor x_BTD = x_ND.view({-1, config_.tokens(), width});
  const at::Tensor& so_far = result.time_probabilities_BX;
  result.time_probabilities_BX =
      so_far.defined() ? at::cat({so_far, routing.probabilities_NE}, 1) : routing.probabilities_NE;
  result.expert_counts_E.push_back((chosen_BE.detach() > 0).sum(0));
  result.route_index_NK.push_back(routing.index_NK);
  result.route_weight_NK.push_back(routing.weight_NK.detach());
  return (x_BTD * at::baddbmm(bias_BO.unsqueeze(1), x_BTD, weight_BIO)).view({-1, width});
}

at::Tensor DitModule::attention(const at::Tensor& x_ND, const Block& block) const {
  const int64_t tokens = config_.tokens();
  const int64_t head_dim = config_.head_dim();
  const at::Tensor qkv = linear(x_ND, block.qkv)
                             .view({-1, tokens, 3, config_.heads, head_dim})
                             .permute({2, 0, 3, 1, 4});  // [3, B, H, T, head_dim]
  at::Tensor q = qkv[0];
  at::Tensor k = qkv[1];
  if (config_.qk_norm) {
    q = at::layer_norm(q, {head_dim}, block.q_norm.weight, block.q_norm.bias, kNormEpsilon);
    k = at::layer_norm(k, {head_dim}, block.k_norm.weight, block.k_norm.bias, kNormEpsilon);
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor weights_BHTT = at::softmax(at::matmul(q * scale, k.transpose(-2, -1)), -1);
  const at::Tensor mixed_ND =
      at::matmul(weights_BHTT, qkv[2]).transpose(1, 2).reshape({-1, config_.width});
  return linear(mixed_ND, block.proj);
}

at::Tensor DitModule::moe(const at::Tensor& x_ND, const Block& block, DitOutput& result) const {
  const at::Tensor logits_NE = autograd::linear(x_ND, block.router_ED, {}, kernels_);
  const Routing routing = route(logits_NE, config_.top_k);
  const autograd::Dispatch dispatch = autograd::make_dispatch(routing.index_NK, config_.experts);
  const at::Tensor rows_SD = autograd::gather_tokens(x_ND, dispatch, kernels_);
  const at::Tensor expert_SD =
      autograd::grouped_swiglu(rows_SD, dispatch.counts_E, block.experts, kernels_);
  at::Tensor out_ND = autograd::combine_tokens(expert_SD, routing.weight_NK, dispatch, kernels_);
  if (!block.dense.empty()) out_ND = out_ND + autograd::swiglu(x_ND, block.dense[0], kernels_);

  result.balance_losses.push_back(balance_loss(routing.probabilities_NE,
                                               routing.index_NK,
                                               x_ND.size(0) / config_.tokens(),
                                               config_.balance_factor,
                                               config_.balance_pool));
  result.expert_counts_E.push_back(dispatch.counts_E);
  result.route_index_NK.push_back(routing.index_NK);
  result.route_weight_NK.push_back(routing.weight_NK.detach());
  return out_ND;
}

at::Tensor DitModule::feed_forward(const at::Tensor& x_ND,
                                   const Block& block,
                                   DitOutput& result) const {
  if (block.is_moe) return moe(x_ND, block, result);
  if (!block.dense.empty()) return autograd::swiglu(x_ND, block.dense[0], kernels_);
  return linear(at::gelu(linear(x_ND, block.fc1), "tanh"), block.fc2);
}

at::Tensor DitModule::final_layer(const at::Tensor& h_ND, const at::Tensor& silu_c_BD) const {
  const std::vector<at::Tensor> modulation = linear(silu_c_BD, final_modulation_).chunk(2, 1);
  const at::Tensor patches =
      linear(norm_modulate(h_ND, modulation[0], modulation[1]), final_linear_);
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
  for (const Block& block : blocks_) {
    at::Tensor masked_ND;
    if (config_.time_experts > 0) {
      masked_ND = mask_by_time(h_ND, silu_time_BD, block, result);
      h_ND = h_ND + masked_ND;
    }
    // shift, scale and gate of attention, then of the feed-forward
    const std::vector<at::Tensor> mod = linear(silu_c_BD, block.modulation).chunk(6, 1);
    h_ND = gated_residual(h_ND, mod[2], attention(norm_modulate(h_ND, mod[0], mod[1]), block));
    h_ND = gated_residual(
        h_ND, mod[5], feed_forward(norm_modulate(h_ND, mod[3], mod[4]), block, result));
    if (masked_ND.defined()) h_ND = h_ND - masked_ND;
  }
  result.out = final_layer(h_ND, silu_c_BD);
  return result;
}

}  // namespace ditmoe::training
