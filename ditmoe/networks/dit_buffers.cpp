#include "ditmoe/networks/dit_buffers.h"

#include <algorithm>

#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/timestep_embedding.h"
#include "ditmoe/networks/dit_weights.h"

namespace ditmoe::networks {
namespace {

bool has_routing(const DitConfig& config) { return config.feed_forward == FeedForward::kMoe; }

int64_t widest_hidden(const DitConfig& config) {
  int64_t widest = has_routing(config) ? std::max(config.routed_width(), config.shared_width()) : 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    widest = std::max(widest, config.is_moe(layer) ? 0 : config.dense_width());
  }
  return widest;
}

}  // namespace

void DitBuffers::resize(const DitConfig& config, int64_t images) {
  const auto size = [](auto& values, int64_t count) { values.resize(static_cast<size_t>(count)); };
  const int64_t rows = images * config.tokens();
  const int64_t width = config.width;
  size(time_N256, images * kernels::kTimestepWidth);
  size(hidden_ND, images * width);
  size(condition_ND, images * width);
  size(modulation_LN6D, config.depth * images * 6 * width);
  size(final_modulation_N2D, images * 2 * width);
  size(x_RD, rows * width);
  size(normed_RD, rows * width);
  size(qkv_R3D, rows * 3 * width);
  size(attended_RD, rows * width);
  size(everyone_RD, rows * width);
  size(output_RO, rows * config.patch_size * config.patch_size * config.output_channels());
  if (has_routing(config)) {
    size(expert_RK, rows * config.top_k);
    size(weight_RK, rows * config.top_k);
    size(expert_out_SD, rows * config.top_k * width);
  }
}

DitScratch::DitScratch(const DitConfig& config) {
  const auto size = [](std::vector<float>& values, int64_t count) {
    values.resize(static_cast<size_t>(count));
  };
  constexpr int64_t kTile = kernels::kMaxTileRows;
  const int64_t patch_values = config.patch_size * config.patch_size * config.channels;
  size(patches, config.tokens() * patch_values);
  size(attention,
       kernels::attention_workspace({config.tokens(), config.heads, config.head_dim()},
                                    config.qk_norm));
  size(rows_in, kTile * config.width);
  size(rows_out, kTile * config.width);
  size(logits, kTile * config.experts);
  size(gate_up, kTile * 2 * std::min(kHiddenChunk, widest_hidden(config)));
  size(hidden, kTile * widest_hidden(config));
}

}  // namespace ditmoe::networks
