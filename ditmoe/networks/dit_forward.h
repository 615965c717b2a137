#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/dit_buffers.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/dit_weights.h"

namespace ditmoe::networks {

// How DitExecutor computes: phases that share their work out among the threads of a pool as tiles
// of rows, each ending before the next begins. A block is four of them:
//   qkv          x += the feed-forward of the block before; LayerNorm and modulate; qkv product
//   attention    one head of one image at a time
//   projection   x += gate · proj; LayerNorm and modulate; router
//   feed-forward experts over the rows sorted by expert, and what takes every row
// No value depends on the tiling, so none depends on the batch or the number of threads.
class DitForward {
 public:
  DitForward(const ModelFile& model, base::ThreadPool& pool);

  const DitConfig& config() const { return config_; }

  // Denoiser::predict on checked arguments; trace may be nullptr.
  void run(std::span<const float> x_NCHW,
           std::span<const float> t_N,
           std::span<const int32_t> y_N,
           std::span<float> out,
           RoutingTrace* trace);

 private:
  // Parts of one image's modulation of a block, each of the network's width.
  enum Modulation { kShiftMsa, kScaleMsa, kGateMsa, kShiftMlp, kScaleMlp, kGateMlp, kParts };

  // Rows for one expert, or (expert -1) for the part of a feed-forward that takes every row.
  struct FeedForwardTask {
    int64_t expert = -1;
    kernels::Tile tile;  // of sorted slots for an expert, of rows otherwise
  };

  int64_t width() const { return config_.width; }

  int64_t rows() const { return images_ * config_.tokens(); }

  // Makes room and cuts the rows into tiles.
  void prepare(int64_t images);
  void condition(std::span<const float> t_N, std::span<const int32_t> y_N);
  // adaLN of all blocks at once: they depend on the condition alone.
  void modulations();
  void embed_patches(std::span<const float> x_NCHW);
  void qkv_phase(int64_t layer);
  void attention_phase(const BlockWeights& block);
  void projection_phase(int64_t layer);
  void feed_forward_phase(const BlockWeights& block);
  void final_phase(std::span<float> out);

  void route_tile(const BlockWeights& block, const kernels::Tile& tile, int thread);
  void plan_feed_forward(const BlockWeights& block);
  void run_feed_forward(const BlockWeights& block, const FeedForwardTask& task, int thread);
  // x += gate · (the part that takes every row + weighted sum of the chosen experts)
  void add_feed_forward(int64_t layer, const kernels::Tile& tile);
  void record_routing(RoutingTrace& trace) const;

  // One image's shift, scale or gate in a block.
  const float* modulation(int64_t layer, int64_t image, Modulation part) const;

  // Calls rows_of(image, first row, rows) for each image that a tile of rows touches.
  template <typename F>
  void by_image(const kernels::Tile& tile, const F& rows_of) const;

  void for_each_tile(const std::function<void(const kernels::Tile& tile, int thread)>& work);

  DitConfig config_;
  base::ThreadPool& pool_;
  kernels::Matmul matmul_;
  DitWeights weights_;
  std::vector<DitScratch> scratch_;  // one per thread
  DitBuffers buffers_;
  int64_t images_ = 0;                  // N of the current forward
  std::vector<kernels::Tile> tiles_;    // of its rows
  std::vector<FeedForwardTask> tasks_;  // of the current block
};

}  // namespace ditmoe::networks
