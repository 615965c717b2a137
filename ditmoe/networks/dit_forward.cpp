#include "ditmoe/networks/dit_forward.h"

#include <algorithm>

#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/gated_residual.h"
#include "ditmoe/kernels/layer_norm.h"
#include "ditmoe/kernels/patchify.h"
#include "ditmoe/kernels/router.h"
#include "ditmoe/kernels/silu.h"
#include "ditmoe/kernels/timestep_embedding.h"
#include "ditmoe/networks/dit_feed_forward.h"

namespace ditmoe::networks {
namespace {

using kernels::Tile;

// Tiles lower than this cost more in calls than further threads bring.
constexpr int64_t kMinTileRows = 16;

kernels::PatchShape patch_shape(const DitConfig& config, int64_t channels) {
  return {channels, config.image_size, config.image_size, config.patch_size};
}

}  // namespace

DitForward::DitForward(const ModelFile& model, base::ThreadPool& pool)
    : config_(model.config()),
      pool_(pool),
      matmul_(pool.size()),
      weights_(load_dit_weights(model, matmul_)),
      scratch_(static_cast<size_t>(pool.size()), DitScratch(config_)) {}

void DitForward::run(std::span<const float> x_NCHW,
                     std::span<const float> t_N,
                     std::span<const int32_t> y_N,
                     std::span<float> out,
                     RoutingTrace* trace) {
  prepare(static_cast<int64_t>(t_N.size()));
  if (trace != nullptr) {
    *trace = {};
    trace->tokens = rows();
    trace->top_k = config_.top_k;
  }
  condition(t_N, y_N);
  modulations();
  embed_patches(x_NCHW);
  for (int64_t layer = 0; layer < config_.depth; ++layer) {
    const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
    qkv_phase(layer);
    attention_phase(block);
    projection_phase(layer);
    if (trace != nullptr && block.routed) {
      record_routing(*trace);
    }
    feed_forward_phase(block);
  }
  final_phase(out);
}

const float* DitForward::modulation(int64_t layer, int64_t image, Modulation part) const {
  const int64_t row = layer * images_ + image;
  return buffers_.modulation_LN6D.data() + (row * kParts + part) * width();
}

template <typename F>
void DitForward::by_image(const Tile& tile, const F& rows_of) const {
  const int64_t tokens = config_.tokens();
  const int64_t tile_end = tile.first + tile.rows;
  for (int64_t row = tile.first; row < tile_end;) {
    const int64_t image = row / tokens;
    const int64_t end = std::min((image + 1) * tokens, tile_end);
    rows_of(image, row, end - row);
    row = end;
  }
}

void DitForward::for_each_tile(const std::function<void(const Tile& tile, int thread)>& work) {
  pool_.run(static_cast<int64_t>(tiles_.size()),
            [&](int64_t i, int thread) { work(tiles_[static_cast<size_t>(i)], thread); });
}

void DitForward::prepare(int64_t images) {
  images_ = images;
  buffers_.resize(config_, images);
  // The same number of tiles for each thread, so that none waits for another's last one.
  const int64_t share = (rows() + pool_.size() - 1) / pool_.size();
  const int64_t tiles_each = (share + kernels::kMaxTileRows - 1) / kernels::kMaxTileRows;
  const int64_t most = std::max<int64_t>(1, rows() / kMinTileRows);
  tiles_ = kernels::split_rows(rows(), std::min(tiles_each * pool_.size(), most));
}

void DitForward::condition(std::span<const float> t_N, std::span<const int32_t> y_N) {
  float* condition = buffers_.condition_ND.data();
  kernels::timestep_embedding(t_N.data(), images_, buffers_.time_N256.data());
  matmul_.multiply(
      buffers_.time_N256.data(), images_, weights_.time_0, buffers_.hidden_ND.data(), 0);
  for (int64_t image = 0; image < images_; ++image) {
    float* hidden = buffers_.hidden_ND.data() + image * width();
    kernels::silu(hidden, width(), hidden);
  }
  matmul_.multiply(buffers_.hidden_ND.data(), images_, weights_.time_2, condition, 0);
  const float* labels = weights_.labels_LD.as<float>().data();
  for (int64_t image = 0; image < images_; ++image) {
    float* row = condition + image * width();
    const float* label = labels + y_N[static_cast<size_t>(image)] * width();
    for (int64_t i = 0; i < width(); ++i) {
      row[i] += label[i];
    }
    // Every use of the condition begins with this SiLU.
    kernels::silu(row, width(), row);
  }
}

void DitForward::modulations() {
  pool_.run(config_.depth + 1, [&](int64_t layer, int thread) {
    const bool last = layer == config_.depth;
    matmul_.multiply(
        buffers_.condition_ND.data(),
        images_,
        last ? weights_.final_modulation : weights_.blocks[static_cast<size_t>(layer)].modulation,
        last ? buffers_.final_modulation_N2D.data()
             : buffers_.modulation_LN6D.data() + layer * images_ * kParts * width(),
        thread);
  });
}

void DitForward::embed_patches(std::span<const float> x_NCHW) {
  const kernels::PatchShape shape = patch_shape(config_, config_.channels);
  const float* position = weights_.position_TD.as<float>().data();
  pool_.run(images_, [&](int64_t image, int thread) {
    float* patches = scratch_[static_cast<size_t>(thread)].patches.data();
    kernels::patchify(x_NCHW.data() + image * shape.image_size(), shape, patches);
    float* x = buffers_.x_RD.data() + image * config_.tokens() * width();
    matmul_.multiply(patches, config_.tokens(), weights_.patch, x, thread);
    for (int64_t i = 0; i < config_.tokens() * width(); ++i) {
      x[i] += position[i];
    }
  });
}

void DitForward::qkv_phase(int64_t layer) {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  for_each_tile([&](const Tile& tile, int thread) {
    if (layer > 0) {
      add_feed_forward(layer - 1, tile);
    }
    float* normed = scratch_[static_cast<size_t>(thread)].rows_in.data();
    by_image(tile, [&](int64_t image, int64_t first, int64_t count) {
      kernels::layer_norm_modulate(buffers_.x_RD.data() + first * width(),
                                   modulation(layer, image, kShiftMsa),
                                   modulation(layer, image, kScaleMsa),
                                   count,
                                   width(),
                                   normed + (first - tile.first) * width());
    });
    float* qkv = buffers_.qkv_R3D.data() + tile.first * 3 * width();
    matmul_.multiply(normed, tile.rows, block.qkv, qkv, thread);
  });
}

void DitForward::attention_phase(const BlockWeights& block) {
  const kernels::AttentionShape shape{config_.tokens(), config_.heads, config_.head_dim()};
  const kernels::QkNorm norm = config_.qk_norm ? block.norm_views() : kernels::QkNorm{};
  pool_.run(images_ * config_.heads, [&](int64_t i, int thread) {
    const int64_t first = i / config_.heads * config_.tokens();
    kernels::attention(buffers_.qkv_R3D.data() + first * 3 * width(),
                       shape,
                       i % config_.heads,
                       config_.qk_norm ? &norm : nullptr,
                       scratch_[static_cast<size_t>(thread)].attention,
                       buffers_.attended_RD.data() + first * width());
  });
}

void DitForward::projection_phase(int64_t layer) {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  for_each_tile([&](const Tile& tile, int thread) {
    float* projected = scratch_[static_cast<size_t>(thread)].rows_out.data();
    const float* attended = buffers_.attended_RD.data() + tile.first * width();
    matmul_.multiply(attended, tile.rows, block.proj, projected, thread);
    by_image(tile, [&](int64_t image, int64_t first, int64_t count) {
      float* x = buffers_.x_RD.data() + first * width();
      kernels::gated_residual(projected + (first - tile.first) * width(),
                              modulation(layer, image, kGateMsa),
                              count,
                              width(),
                              x);
      kernels::layer_norm_modulate(x,
                                   modulation(layer, image, kShiftMlp),
                                   modulation(layer, image, kScaleMlp),
                                   count,
                                   width(),
                                   buffers_.normed_RD.data() + first * width());
    });
    if (block.routed) {
      route_tile(block, tile, thread);
    }
  });
}

void DitForward::route_tile(const BlockWeights& block, const Tile& tile, int thread) {
  float* logits = scratch_[static_cast<size_t>(thread)].logits.data();
  const float* normed = buffers_.normed_RD.data() + tile.first * width();
  matmul_.multiply(normed, tile.rows, block.routed->router, logits, thread);
  kernels::route(logits,
                 tile.rows,
                 config_.experts,
                 config_.top_k,
                 buffers_.expert_RK.data() + tile.first * config_.top_k,
                 buffers_.weight_RK.data() + tile.first * config_.top_k);
}

void DitForward::plan_feed_forward(const BlockWeights& block) {
  tasks_.clear();
  if (block.routed) {
    kernels::dispatch(
        buffers_.expert_RK.data(), rows(), config_.top_k, config_.experts, buffers_.dispatch);
    for (int64_t expert = 0; expert < config_.experts; ++expert) {
      const int64_t* bounds = buffers_.dispatch.first_slot.data() + expert;
      for (const Tile& tile : kernels::tiles_of(bounds[1] - bounds[0])) {
        tasks_.push_back({expert, {bounds[0] + tile.first, tile.rows}});
      }
    }
  }
  // Last, since they are the smallest: they even out what the experts leave.
  if (block.swiglu || block.gelu) {
    for (const Tile& tile : tiles_) {
      tasks_.push_back({-1, tile});
    }
  }
}

void DitForward::run_feed_forward(const BlockWeights& block,
                                  const FeedForwardTask& task,
                                  int thread) {
  DitScratch& own = scratch_[static_cast<size_t>(thread)];
  const Tile& tile = task.tile;
  if (task.expert >= 0) {
    const SwigluWeights& expert = block.routed->experts[static_cast<size_t>(task.expert)];
    kernels::gather_rows(buffers_.normed_RD.data(),
                         buffers_.dispatch.token.data() + tile.first,
                         tile.rows,
                         width(),
                         own.rows_in.data());
    float* y = buffers_.expert_out_SD.data() + tile.first * width();
    swiglu_rows(matmul_, expert, own.rows_in.data(), tile.rows, own, y, thread);
    return;
  }
  const float* x = buffers_.normed_RD.data() + tile.first * width();
  float* y = buffers_.everyone_RD.data() + tile.first * width();
  if (block.swiglu) {
    swiglu_rows(matmul_, *block.swiglu, x, tile.rows, own, y, thread);
  } else {
    gelu_rows(matmul_, *block.gelu, x, tile.rows, own, y, thread);
  }
}

void DitForward::feed_forward_phase(const BlockWeights& block) {
  plan_feed_forward(block);
  pool_.run(static_cast<int64_t>(tasks_.size()), [&](int64_t i, int thread) {
    run_feed_forward(block, tasks_[static_cast<size_t>(i)], thread);
  });
}

void DitForward::add_feed_forward(int64_t layer, const Tile& tile) {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  float* sum = buffers_.everyone_RD.data() + tile.first * width();
  if (block.routed) {
    if (!block.swiglu) {
      std::fill_n(sum, tile.rows * width(), 0.0f);
    }
    kernels::combine_experts(buffers_.expert_out_SD.data(),
                             buffers_.dispatch.slot.data() + tile.first * config_.top_k,
                             buffers_.weight_RK.data() + tile.first * config_.top_k,
                             tile.rows,
                             config_.top_k,
                             width(),
                             sum);
  }
  by_image(tile, [&](int64_t image, int64_t first, int64_t count) {
    kernels::gated_residual(sum + (first - tile.first) * width(),
                            modulation(layer, image, kGateMlp),
                            count,
                            width(),
                            buffers_.x_RD.data() + first * width());
  });
}

void DitForward::final_phase(std::span<float> out) {
  const kernels::PatchShape shape = patch_shape(config_, config_.output_channels());
  for_each_tile([&](const Tile& tile, int thread) {
    add_feed_forward(config_.depth - 1, tile);
    float* normed = scratch_[static_cast<size_t>(thread)].rows_in.data();
    by_image(tile, [&](int64_t image, int64_t first, int64_t count) {
      const float* shift = buffers_.final_modulation_N2D.data() + image * 2 * width();
      kernels::layer_norm_modulate(buffers_.x_RD.data() + first * width(),
                                   shift,
                                   shift + width(),
                                   count,
                                   width(),
                                   normed + (first - tile.first) * width());
    });
    float* output = buffers_.output_RO.data() + tile.first * shape.patch_size();
    matmul_.multiply(normed, tile.rows, weights_.final_linear, output, thread);
  });
  pool_.run(images_, [&](int64_t image, int) {
    kernels::unpatchify(buffers_.output_RO.data() + image * shape.image_size(),
                        shape,
                        out.data() + image * shape.image_size());
  });
}

void DitForward::record_routing(RoutingTrace& trace) const {
  ++trace.moe_layers;
  trace.index.insert(trace.index.end(), buffers_.expert_RK.begin(), buffers_.expert_RK.end());
  trace.weight.insert(trace.weight.end(), buffers_.weight_RK.begin(), buffers_.weight_RK.end());
}

}  // namespace ditmoe::networks
