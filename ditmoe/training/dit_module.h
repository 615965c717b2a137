#pragma once

#include <vector>

#include <torch/types.h>

#include "ditmoe/autograd/attention.h"
#include "ditmoe/autograd/engine.h"
#include "ditmoe/autograd/experts.h"
#include "ditmoe/autograd/router.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/training/parameters.h"

namespace ditmoe::training {

using autograd::Kernels;
using kernels::Precision;

// How a module computes.
struct ModuleOptions {
  Kernels kernels = Kernels::kNative;
  // Of the products of attention and feed-forward. What is small and matters (embeddings,
  // modulation, routers, norms, residuals) is f32 in any case.
  Precision precision = Precision::kF32;
  // Keep no more than the input of each block, and compute a block again in backward: less memory
  // for a third more work. The numbers stay the same.
  bool recompute = false;
};

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
            const ModuleOptions& options = {});

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
    Affine qkv, proj, modulation;
    autograd::QkNormWeights qk_norm;
    bool is_moe = false;
    at::Tensor router_ED, router_bias_E;
    autograd::SwigluWeights experts;
    autograd::SwigluWeights dense;  // shared experts, or the dense control; or none
    Affine fc1, fc2;                // GELU MLP
    Affine time_gate;               // of experts before the block
    at::Tensor time_experts_EIO, time_bias_EO;
  };

  // What a block adds to DitOutput, besides its rows.
  struct BlockOutput {
    at::Tensor h_ND;
    at::Tensor balance_loss;         // of a sparse block
    at::Tensor time_probability_BE;  // of a Switch-DiT
    autograd::Routing routing;       // of either
  };

  Affine affine(const std::string& name) const;
  autograd::SwigluWeights swiglu_weights(const std::string& prefix, int64_t hidden) const;
  Block make_block(int64_t layer) const;
  void add_feed_forward(int64_t layer, Block& block) const;
  at::Tensor linear(const at::Tensor& x_NI, const Affine& layer) const;
  at::Tensor product(const at::Tensor& x_NI, const Affine& layer, bool narrow) const;
  at::Tensor embed_patches(const at::Tensor& x) const;
  at::Tensor embed_time(const at::Tensor& t_B) const;
  at::Tensor mask_by_time(const at::Tensor& x_ND,
                          const at::Tensor& silu_time_BD,
                          const Block& block,
                          BlockOutput& result) const;
  at::Tensor attention(const at::Tensor& x_ND, const Block& block) const;
  at::Tensor moe(const at::Tensor& x_ND, const Block& block, BlockOutput& result) const;
  at::Tensor feed_forward(const at::Tensor& x_ND, const Block& block, BlockOutput& result) const;
  BlockOutput run_block(const Block& block,
                        const at::Tensor& h_ND,
                        const at::Tensor& silu_c_BD,
                        const at::Tensor& silu_time_BD) const;
  BlockOutput run_recomputed(const Block& block,
                             const at::Tensor& h_ND,
                             const at::Tensor& silu_c_BD,
                             const at::Tensor& silu_time_BD) const;
  at::Tensor final_layer(const at::Tensor& h_ND, const at::Tensor& silu_c_BD) const;

  networks::DitConfig config_;
  const ParameterSet& parameters_;
  ModuleOptions options_;
  autograd::Engine engine_;
  Affine patch_, time0_, time2_, final_linear_, final_modulation_;
  at::Tensor label_table_;
  std::vector<Block> blocks_;
};

// [N] times → [N, 256]: cos then sin of t·exp(-ln(10000)·i/128), i < 128.
at::Tensor timestep_embedding(const at::Tensor& t_N);

}  // namespace ditmoe::training
