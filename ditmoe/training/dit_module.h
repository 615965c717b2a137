#pragma once

#include <vector>

#include <torch/types.h>

#include "ditmoe/autograd/experts.h"
#include "ditmoe/autograd/linear.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/training/parameters.h"

namespace ditmoe::training {

using autograd::Kernels;

// What one forward yields besides the prediction.
struct DitOutput {
  at::Tensor out;                          // [B, output_channels, H, W]
  std::vector<at::Tensor> balance_losses;  // one scalar per MoE block, factor included
  std::vector<at::Tensor>
      expert_counts_E;  // i64, how many choices fell on each expert, per MoE block
  std::vector<at::Tensor> route_index_NK;   // i64, sorted by expert index, per MoE block
  std::vector<at::Tensor> route_weight_NK;  // f32 beside it
  // Of a Switch-DiT, whose images choose experts where tokens do elsewhere (N = B in the three
  // above): softmax of all blocks' gates, [B, depth · time_experts].
  at::Tensor time_probabilities_BX;
  at::Tensor prior_loss;  // a scalar; undefined where no objective computes it
};

// DiT-MoE, DiT, Switch-DiT and the dense SwiGLU control as a differentiable function of a
// ParameterSet: the same function as networks::DitExecutor, written for autograd. Single device;
// parallelism, EMA and accumulation are applied from outside.
//
// Shape suffixes: B batch, T tokens, N = B·T, D width, H heads, E experts, K top-k, S = N·K.
class DitModule {
 public:
  // parameters must outlive the module.
  DitModule(const networks::DitConfig& config,
            const ParameterSet& parameters,
            Kernels kernels = Kernels::kNative);

  const networks::DitConfig& config() const { return config_; }

  // x [B, C, H, W] f32, t [B] f32 as the timestep embedding takes it, y [B] i64 labels.
  DitOutput forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& y) const;

  // DitOutput::time_probabilities_BX for times alone. Only of a Switch-DiT.
  at::Tensor time_probabilities(const at::Tensor& t_B) const;

 private:
  struct Affine {
    at::Tensor weight;
    at::Tensor bias;
  };

  struct Block {
    Affine qkv, proj, q_norm, k_norm, modulation;
    bool is_moe = false;
    at::Tensor router_ED;
    std::vector<autograd::SwigluWeights> experts;
    std::vector<autograd::SwigluWeights> dense;  // shared experts, or the dense control; 0 or 1
    Affine fc1, fc2;                             // GELU MLP
    Affine time_gate;                            // of experts before the block
    at::Tensor time_experts_EIO, time_bias_EO;
  };

  Affine affine(const std::string& name) const;
  autograd::SwigluWeights swiglu_weights(const std::string& name) const;
  Block make_block(int64_t layer) const;
  at::Tensor linear(const at::Tensor& x_NI, const Affine& layer) const;
  at::Tensor embed_patches(const at::Tensor& x) const;
  at::Tensor embed_time(const at::Tensor& t_B) const;
  at::Tensor mask_by_time(const at::Tensor& x_ND,
                          const at::Tensor& silu_time_BD,
                          const Block& block,
                          DitOutput& result) const;
  at::Tensor attention(const at::Tensor& x_ND, const Block& block) const;
  at::Tensor moe(const at::Tensor& x_ND, const Block& block, DitOutput& result) const;
  at::Tensor feed_forward(const at::Tensor& x_ND, const Block& block, DitOutput& result) const;
  at::Tensor final_layer(const at::Tensor& h_ND, const at::Tensor& silu_c_BD) const;

  networks::DitConfig config_;
  const ParameterSet& parameters_;
  Kernels kernels_;
  Affine patch_, time0_, time2_, final_linear_, final_modulation_;
  at::Tensor label_table_;
  std::vector<Block> blocks_;
};

// [N] times → [N, 256]: cos then sin of t·exp(-ln(10000)·i/128), i < 128.
at::Tensor timestep_embedding(const at::Tensor& t_N);

// Balance loss of one MoE block, factor included: factor·Σ_i f_i·P_i with
// f_i = E/(K·T)·#{choices of i}, P_i = mean probability, pooled over one image's tokens (then
// averaged over images) or over the batch.
//   probabilities_NE  softmax of the router, differentiable
//   index_NK          chosen experts
at::Tensor balance_loss(const at::Tensor& probabilities_NE,
                        const at::Tensor& index_NK,
                        int64_t batch,
                        double factor,
                        networks::BalancePool pool);

}  // namespace ditmoe::training
