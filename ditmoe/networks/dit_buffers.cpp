#include "ditmoe/networks/dit_buffers.h"

#include <algorithm>

#include "ditmoe/base/error.h"
#include "ditmoe/base/memory.h"
#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/tiles.h"
#include "ditmoe/networks/dit_weights.h"

namespace ditmoe::networks {
namespace {

using kernels::Activations;
using kernels::Precision;

bool has_routing(const DitConfig& config) { return config.feed_forward == FeedForward::kMoe; }

int64_t widest_hidden(const DitConfig& config) {
  int64_t widest = has_routing(config) ? std::max(config.routed_width(), config.shared_width()) : 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    widest = std::max(widest, config.is_moe(layer) ? 0 : config.dense_width());
  }
  return widest;
}

Activations take(base::Arena& arena, Precision precision, int64_t rows, int64_t width) {
  Activations activations{precision, width, nullptr, nullptr};
  activations.values = arena.take(static_cast<size_t>(rows * activations.row_bytes()));
  if (precision == Precision::kInt8) activations.scale = arena.take_array<float>(rows);
  return activations;
}

// Refuses a batch whose activations exceed what is free.
void check_room(const DitConfig& config, const ActivationTypes& types, int64_t images) {
  constexpr uint64_t kAlwaysTried = uint64_t{64} << 20;
  const auto bytes_of = [](Precision precision, int64_t width) {
    return Activations{precision, width, nullptr, nullptr}.row_bytes();
  };
  const int64_t width = config.width;
  const int64_t slots = has_routing(config) ? config.top_k : 0;
  const int64_t streams = config.time_experts > 0 ? 3 : 2;
  const int64_t row = (streams + slots) * width * int64_t{sizeof(float)} +
                      bytes_of(types.products, width) + bytes_of(types.wide(), 4 * width);
  const uint64_t needed = static_cast<uint64_t>(images) * static_cast<uint64_t>(config.tokens()) *
                          static_cast<uint64_t>(row);
  if (needed <= kAlwaysTried) return;
  const uint64_t available = base::free_memory();
  if (needed <= available) return;
  base::bad_input(
      "a batch of {} images needs {} for its activations, {} are free: take a smaller one",
      images,
      base::bytes_text(needed),
      base::bytes_text(available));
}

}  // namespace

void DitBuffers::reserve(const DitConfig& config, const ActivationTypes& types, int64_t images) {
  if (images <= capacity) return;
  const int64_t rows = images * config.tokens();
  const int64_t width = config.width;
  check_room(config, types, images);
  capacity = 0;  // of what follows, should memory run out
  arena_ = std::make_unique<base::Arena>(size_t{16} << 20);
  x_RD = arena_->take_array<float>(rows * width);
  if (config.time_experts > 0) masked_RD = arena_->take_array<float>(rows * width);
  normed_RD = take(*arena_, types.products, rows, width);
  qkv_R3D = take(*arena_, types.wide(), rows, 3 * width);
  attended_RD = take(*arena_, types.wide(), rows, width);
  everyone_RD = arena_->take_array<float>(rows * width);
  output_RO = arena_->take_array<float>(rows * config.patch_size * config.patch_size *
                                        config.output_channels());
  if (has_routing(config)) {
    const int64_t slots = rows * config.top_k;
    expert_RK = arena_->take_array<int32_t>(slots);
    weight_RK = arena_->take_array<float>(slots);
    expert_out_SD = arena_->take_array<float>(slots * width);
    dispatch.reserve(slots, config.experts);
  }
  capacity = images;
}

DitScratch::DitScratch(const DitConfig& config, const ActivationTypes& types, base::Arena& arena) {
  constexpr int64_t kTile = kernels::kMaxTileRows;
  const int64_t width = config.width;
  const int64_t hidden_width = widest_hidden(config);
  const int64_t chunk = std::min(kHiddenChunk, hidden_width);
  patches = arena.take_array<float>(config.tokens() * config.patch_size * config.patch_size *
                                    config.channels);
  attention.resize(static_cast<size_t>(kernels::attention_workspace(
      {config.tokens(), config.heads, config.head_dim()}, config.qk_norm)));
  row_D = arena.take_array<float>(width);
  rows_f32 = arena.take_array<float>(kTile * width);
  choice = arena.take_array<float>(3 * config.experts);
  rows = take(arena, types.products, kTile, width);
  wide = arena.take_array<float>(kTile * std::max(width, 2 * chunk));
  hidden = take(arena, types.wide(), kTile, hidden_width);
  if (types.products == Precision::kInt8) {
    hidden_int8 = take(arena, Precision::kInt8, kTile, hidden_width);
  }
}

}  // namespace ditmoe::networks
