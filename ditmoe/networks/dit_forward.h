#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/function_ref.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/products.h"
#include "ditmoe/networks/dit_buffers.h"
#include "ditmoe/networks/dit_conditioning.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/dit_weights.h"
#include "ditmoe/networks/expert_stream.h"
#include "ditmoe/networks/profile.h"

namespace ditmoe::networks {

// How DitExecutor computes: phases that share their work out among the threads of a pool as tiles
// of rows, each ending before the next begins. A block is four of them:
//   qkv          x += the feed-forward of the block before; experts chosen by time, where there are
//                such; LayerNorm and modulate; qkv product
//   attention    one head of one image at a time
//   projection   x += gate · proj; LayerNorm and modulate; router
//   feed-forward experts over the rows sorted by expert, and what takes every row
// No value depends on the tiling, so none depends on the batch or the number of threads.
class DitForward {
 public:
  // Makes the source of matrices for a Matmul and an arena to pack into.
  using MakeSource =
      base::FunctionRef<std::unique_ptr<MatrixSource>(kernels::Matmul&, base::Arena&)>;

  DitForward(const DitConfig& config,
             const ExecutorOptions& options,
             base::ThreadPool& pool,
             MakeSource make_source);

  const DitConfig& config() const { return config_; }

  const kernels::Products& products() const { return products_; }

  Profile& profile() { return profile_; }

  // From now on experts are used where the stream has them. in_file: where each sparse layer's
  // region stands in the mapping that the matrices were adopted from.
  void stream_experts(std::unique_ptr<ExpertStream> stream, std::vector<const std::byte*> in_file);

  // Denoiser::predict on checked arguments; trace may be nullptr.
  void run(std::span<const float> x_NCHW,
           std::span<const float> t_N,
           std::span<const int32_t> y_N,
           std::span<float> out,
           RoutingTrace* trace);

 private:
  // Parts of one image's modulation of a block, each of the network's width.
  enum Modulation { kShiftMsa, kScaleMsa, kGateMsa, kShiftMlp, kScaleMlp, kGateMlp };

  // Rows for one expert, or (expert -1) for the part of a feed-forward that takes every row.
  struct FeedForwardTask {
    int64_t expert = -1;
    kernels::Tile tile;  // of sorted slots for an expert, of rows otherwise
  };

  int64_t width() const { return config_.width; }

  int64_t rows() const { return images_ * config_.tokens(); }

  const float* modulation(int64_t layer, int64_t row, Modulation part) const {
    return conditioning_.block(layer, row / config_.tokens()) + part * width();
  }

  // Makes room and cuts the rows into tiles.
  void prepare(int64_t images);
  void embed_patches(std::span<const float> x_NCHW);
  void qkv_phase(int64_t layer);
  void attention_phase(const BlockWeights& block);
  void projection_phase(int64_t layer);
  void feed_forward_phase(int64_t layer);
  // Points the experts of the sparse layer `index` to where they are now.
  void move_experts(RoutedWeights& routed, int64_t index, const std::byte* to);
  void final_phase(std::span<float> out);

  void multiply_qkv(const BlockWeights& block, const kernels::Tile& tile, int thread);
  // Logits and choice of one row's experts, from its f32 values.
  void route_row(const RoutedWeights& routed, const float* normed, int64_t row, int thread);
  void plan_feed_forward(const BlockWeights& block);
  void run_expert(const SwigluWeights& expert, const kernels::Tile& slots, int thread);
  void run_everyone(const BlockWeights& block, const kernels::Tile& tile, int thread);
  // x += gate · (the part that takes every row + weighted sum of the chosen experts); what experts
  // before the block added leaves again.
  void add_feed_forward(int64_t layer, int64_t row);
  void record_routing(int64_t layer, RoutingTrace& trace) const;

  template <typename Work>
  void for_each_tile(const Work& work);

  DitConfig config_;
  base::ThreadPool& pool_;
  base::Isa isa_;
  kernels::Products products_;
  ActivationTypes types_;
  base::Arena arena_;  // of weights and scratch
  DitWeights weights_;
  DitConditioning conditioning_;
  std::vector<DitScratch> scratch_;  // one per thread
  DitBuffers buffers_;
  std::unique_ptr<ExpertStream> stream_;
  std::vector<const std::byte*> expert_bases_;  // of sparse layers, where matrices point to
  std::vector<int64_t> sparse_index_;           // of each layer; -1 for a dense one
  Profile profile_;
  int64_t images_ = 0;                  // N of the current forward
  std::vector<kernels::Tile> tiles_;    // of its rows
  std::vector<FeedForwardTask> tasks_;  // of the current block
};

}  // namespace ditmoe::networks
