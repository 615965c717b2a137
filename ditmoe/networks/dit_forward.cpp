#include "ditmoe/networks/dit_forward.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/patchify.h"
#include "ditmoe/kernels/router.h"
#include "ditmoe/networks/dit_feed_forward.h"
#include "ditmoe/networks/dit_time_experts.h"

namespace ditmoe::networks {
namespace {

using kernels::Activations;
using kernels::Precision;
using kernels::Tile;

// Products of lower tiles are slower than what a further thread brings; higher ones leave threads
// without work at the end of a phase.
constexpr int64_t kMinTileRows = 32;
constexpr int64_t kGoodTileRows = 128;

// Rows of an expert that are multiplied at once. The more, the fewer times its weights come into
// the second-level cache, until activations push them out: in f32 that is earlier.
constexpr int64_t kExpertRowsF32 = 192;
constexpr int64_t kExpertRows = kernels::kMaxTileRows;

kernels::PatchShape patch_shape(const DitConfig& config, int64_t channels) {
  return {channels, config.image_size, config.image_size, config.patch_size};
}

}  // namespace

DitForward::DitForward(const DitConfig& config,
                       const ExecutorOptions& options,
                       base::ThreadPool& pool,
                       MakeSource make_source)
    : config_(config),
      pool_(pool),
      isa_(options.isa),
      products_(pool.size(), options.precision, options.isa),
      types_{products_.computed()},
      weights_(load_dit_weights(
          *make_source(products_.matmul(), arena_), products_.matmul(), arena_, pool)),
      conditioning_(config_, weights_, products_, pool),
      profile_(pool.size()) {
  for (int thread = 0; thread < pool.size(); ++thread) {
    scratch_.emplace_back(config_, types_, arena_);
  }
}

void DitForward::run(std::span<const float> x_NCHW,
                     std::span<const float> t_N,
                     std::span<const int32_t> y_N,
                     std::span<float> out,
                     RoutingTrace* trace) {
  prepare(static_cast<int64_t>(t_N.size()));
  if (trace != nullptr) {
    *trace = {};
    trace->tokens = config_.time_experts > 0 ? images_ : rows();
    trace->top_k = config_.time_experts > 0 ? config_.time_top_k : config_.top_k;
  }
  Lap lap(profile_, 0);
  conditioning_.prepare(t_N, y_N);
  lap.end(Op::kCondition);
  embed_patches(x_NCHW);
  for (int64_t layer = 0; layer < config_.depth; ++layer) {
    const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
    qkv_phase(layer);
    attention_phase(block);
    projection_phase(layer);
    if (trace != nullptr) record_routing(layer, *trace);
    feed_forward_phase(layer);
  }
  final_phase(out);
}

template <typename Work>
void DitForward::for_each_tile(const Work& work) {
  pool_.run(static_cast<int64_t>(tiles_.size()),
            [&](int64_t i, int thread) { work(tiles_[static_cast<size_t>(i)], thread); });
}

void DitForward::prepare(int64_t images) {
  buffers_.reserve(config_, types_, images);
  if (images == images_) return;
  images_ = images;
  // The same number of tiles for each thread, so that none waits for another's last one.
  const int64_t share = (rows() + pool_.size() - 1) / pool_.size();
  const int64_t tiles_each = (share + kGoodTileRows - 1) / kGoodTileRows;
  const int64_t most = std::max<int64_t>(1, rows() / kMinTileRows);
  tiles_ = kernels::split_rows(rows(), std::min(tiles_each * pool_.size(), most));
  const int64_t slots = rows() * config_.top_k;
  tasks_.reserve(tiles_.size() + static_cast<size_t>(slots / kExpertRowsF32 + config_.experts + 1));
}

void DitForward::embed_patches(std::span<const float> x_NCHW) {
  const kernels::PatchShape shape = patch_shape(config_, config_.channels);
  const float* position = weights_.position_TD.as<float>().data();
  pool_.run(images_, [&](int64_t image, int thread) {
    Lap lap(profile_, thread);
    float* patches = scratch_[static_cast<size_t>(thread)].patches;
    kernels::patchify(x_NCHW.data() + image * shape.image_size(), shape, patches);
    float* x = buffers_.x_RD + image * config_.tokens() * width();
    products_.linear_f32(patches, config_.tokens(), weights_.patch, x, thread);
    for (int64_t i = 0; i < config_.tokens() * width(); ++i) x[i] += position[i];
    lap.end(Op::kPatches);
  });
}

void DitForward::qkv_phase(int64_t layer) {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  for_each_tile([&](const Tile& tile, int thread) {
    Lap lap(profile_, thread);
    DitScratch& own = scratch_[static_cast<size_t>(thread)];
    if (block.timed) {
      for (int64_t i = 0; layer > 0 && i < tile.rows; ++i) {
        add_feed_forward(layer - 1, tile.first + i);
      }
      lap.end(Op::kCombine);
      enter_time_experts(
          config_, products_, *block.timed, conditioning_, layer, tile, buffers_, own, thread);
      lap.end(Op::kTimeExperts);
    }
    for (int64_t i = 0; i < tile.rows; ++i) {
      const int64_t row = tile.first + i;
      if (layer > 0 && !block.timed) add_feed_forward(layer - 1, row);
      lap.end(Op::kCombine);
      products_.rows().layer_norm_modulate(buffers_.x_RD + row * width(),
                                           modulation(layer, row, kShiftMsa),
                                           modulation(layer, row, kScaleMsa),
                                           width(),
                                           own.row_D);
      own.rows.store(products_.rows(), own.row_D, i);
      lap.end(Op::kNorm);
    }
    multiply_qkv(block, tile, thread);
    lap.end(Op::kQkv);
  });
}

void DitForward::multiply_qkv(const BlockWeights& block, const Tile& tile, int thread) {
  DitScratch& own = scratch_[static_cast<size_t>(thread)];
  const Activations qkv = buffers_.qkv_R3D.from(tile.first);
  if (qkv.precision == Precision::kF32) {
    auto* dst = reinterpret_cast<float*>(qkv.values);
    if (block.qkv.size() == 1) {
      products_.linear(own.rows, tile.rows, block.qkv.front(), nullptr, dst, thread);
      return;
    }
    for (const kernels::PackedMatrix& part : block.qkv) {
      products_.linear(own.rows, tile.rows, part, nullptr, own.rows_f32, thread);
      for (int64_t i = 0; i < tile.rows; ++i) {
        std::copy_n(own.rows_f32 + i * width(), width(), dst + i * 3 * width());
      }
      dst += width();
    }
    return;
  }
  auto* dst = reinterpret_cast<base::BFloat16*>(qkv.values);
  for (const kernels::PackedMatrix& part : block.qkv) {
    products_.linear_bf16(own.rows, tile.rows, part, own.wide, dst, 3 * width(), thread);
    dst += part.outputs();
  }
}

void DitForward::attention_phase(const BlockWeights& block) {
  const kernels::AttentionShape shape{config_.tokens(), config_.heads, config_.head_dim()};
  const kernels::QkNorm norms = config_.qk_norm ? block.norm_views() : kernels::QkNorm{};
  const kernels::QkNorm* norm = config_.qk_norm ? &norms : nullptr;
  pool_.run(images_ * config_.heads, [&](int64_t i, int thread) {
    Lap lap(profile_, thread);
    const int64_t first = i / config_.heads * config_.tokens();
    const int64_t head = i % config_.heads;
    std::byte* src = buffers_.qkv_R3D.row(first);
    std::byte* dst = buffers_.attended_RD.row(first);
    std::span<float> workspace = scratch_[static_cast<size_t>(thread)].attention;
    if (types_.wide() == Precision::kF32) {
      kernels::attention(reinterpret_cast<const float*>(src),
                         shape,
                         head,
                         norm,
                         workspace,
                         reinterpret_cast<float*>(dst),
                         isa_);
    } else {
      kernels::attention(reinterpret_cast<const base::BFloat16*>(src),
                         shape,
                         head,
                         norm,
                         workspace,
                         reinterpret_cast<base::BFloat16*>(dst),
                         isa_);
    }
    lap.end(Op::kAttention);
  });
}

void DitForward::projection_phase(int64_t layer) {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  const kernels::RowKernels& kernels = products_.rows();
  for_each_tile([&](const Tile& tile, int thread) {
    Lap lap(profile_, thread);
    DitScratch& own = scratch_[static_cast<size_t>(thread)];
    Activations attended = buffers_.attended_RD.from(tile.first);
    if (types_.products == Precision::kInt8) {
      for (int64_t i = 0; i < tile.rows; ++i) {
        own.rows.scale[i] =
            kernels.quantize_bf16(reinterpret_cast<const base::BFloat16*>(attended.row(i)),
                                  width(),
                                  reinterpret_cast<uint8_t*>(own.rows.row(i)));
      }
      attended = own.rows;
    }
    auto* sums = static_cast<int32_t*>(own.wide);
    products_.linear(attended, tile.rows, block.proj, sums, own.rows_f32, thread);
    lap.end(Op::kProj);
    for (int64_t i = 0; i < tile.rows; ++i) {
      const int64_t row = tile.first + i;
      float* x = buffers_.x_RD + row * width();
      kernels.gated_residual(
          own.rows_f32 + i * width(), modulation(layer, row, kGateMsa), width(), x);
      float* normed = own.rows_f32 + i * width();
      kernels.layer_norm_modulate(
          x, modulation(layer, row, kShiftMlp), modulation(layer, row, kScaleMlp), width(), normed);
      buffers_.normed_RD.store(kernels, normed, row);
    }
    lap.end(Op::kNorm);
    if (!block.routed) return;
    for (int64_t i = 0; i < tile.rows; ++i) {
      route_row(*block.routed, own.rows_f32 + i * width(), tile.first + i, thread);
    }
    lap.end(Op::kRouter);
  });
}

void DitForward::route_row(const RoutedWeights& routed,
                           const float* normed,
                           int64_t row,
                           int thread) {
  float* logits = scratch_[static_cast<size_t>(thread)].choice;
  const float* weight = routed.router_ED.as<float>().data();
  products_.rows().router_logits(normed, weight, config_.experts, width(), logits);
  const float* bias = config_.router_bias ? routed.bias_E.as<float>().data() : nullptr;
  kernels::route(logits,
                 1,
                 config_.experts,
                 {config_.router_score, config_.renormalise, bias},
                 config_.top_k,
                 logits + config_.experts,
                 buffers_.expert_RK + row * config_.top_k,
                 buffers_.weight_RK + row * config_.top_k);
}

void DitForward::plan_feed_forward(const BlockWeights& block) {
  tasks_.clear();
  const int64_t most = types_.products == Precision::kF32 ? kExpertRowsF32 : kExpertRows;
  if (block.routed) {
    kernels::dispatch(
        buffers_.expert_RK, rows(), config_.top_k, config_.experts, buffers_.dispatch);
    for (int64_t expert = 0; expert < config_.experts; ++expert) {
      const int64_t* bounds = buffers_.dispatch.first_slot.data() + expert;
      const int64_t count = bounds[1] - bounds[0];
      const int64_t tiles = (count + most - 1) / most;
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = count * i / tiles;
        tasks_.push_back({expert, {bounds[0] + first, count * (i + 1) / tiles - first}});
      }
    }
    // The largest first, so that the last to end are small.
    std::ranges::sort(tasks_, [](const FeedForwardTask& a, const FeedForwardTask& b) {
      return a.tile.rows != b.tile.rows ? a.tile.rows > b.tile.rows : a.tile.first < b.tile.first;
    });
  }
  // Last, since they cost least: they even out what the experts leave.
  if (block.swiglu || block.gelu) {
    for (const Tile& tile : tiles_) tasks_.push_back({-1, tile});
  }
}

void DitForward::run_expert(const SwigluWeights& expert, const Tile& slots, int thread) {
  Lap lap(profile_, thread);
  DitScratch& own = scratch_[static_cast<size_t>(thread)];
  const int32_t* token = buffers_.dispatch.token.data() + slots.first;
  const Activations& normed = buffers_.normed_RD;
  for (int64_t i = 0; i < slots.rows; ++i) {
    std::memcpy(own.rows.row(i), normed.row(token[i]), static_cast<size_t>(normed.row_bytes()));
    if (normed.scale != nullptr) own.rows.scale[i] = normed.scale[token[i]];
  }
  lap.end(Op::kGather);
  float* y = buffers_.expert_out_SD + slots.first * width();
  swiglu_rows(products_, expert, own.rows, slots.rows, own, y, thread, lap);
}

void DitForward::run_everyone(const BlockWeights& block, const Tile& tile, int thread) {
  Lap lap(profile_, thread);
  DitScratch& own = scratch_[static_cast<size_t>(thread)];
  const Activations x = buffers_.normed_RD.from(tile.first);
  float* y = buffers_.everyone_RD + tile.first * width();
  if (block.swiglu) {
    swiglu_rows(products_, *block.swiglu, x, tile.rows, own, y, thread, lap);
  } else {
    gelu_rows(products_, *block.gelu, x, tile.rows, own, y, thread, lap);
  }
}

void DitForward::stream_experts(std::unique_ptr<ExpertStream> stream,
                                std::vector<const std::byte*> in_file) {
  stream_ = std::move(stream);
  expert_bases_ = std::move(in_file);
  int64_t sparse = 0;
  for (const BlockWeights& block : weights_.blocks) {
    sparse_index_.push_back(block.routed ? sparse++ : -1);
  }
}

void DitForward::move_experts(RoutedWeights& routed, int64_t index, const std::byte* to) {
  const std::byte* from = std::exchange(expert_bases_[static_cast<size_t>(index)], to);
  if (from == to) return;
  for (SwigluWeights& expert : routed.experts) {
    for (kernels::PackedMatrix& chunk : expert.gate_up) chunk.rebase(from, to);
    expert.down.rebase(from, to);
  }
}

void DitForward::feed_forward_phase(int64_t layer) {
  BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  Lap lap(profile_, 0);
  plan_feed_forward(block);
  lap.end(Op::kRouter);
  const int64_t streamed = stream_ ? sparse_index_[static_cast<size_t>(layer)] : -1;
  if (streamed >= 0) move_experts(*block.routed, streamed, stream_->acquire(streamed));
  pool_.run(static_cast<int64_t>(tasks_.size()), [&](int64_t i, int thread) {
    const FeedForwardTask& task = tasks_[static_cast<size_t>(i)];
    if (task.expert < 0) return run_everyone(block, task.tile, thread);
    run_expert(block.routed->experts[static_cast<size_t>(task.expert)], task.tile, thread);
  });
  if (streamed >= 0) stream_->release(streamed);
}

void DitForward::add_feed_forward(int64_t layer, int64_t row) {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  const bool has_everyone = block.swiglu || block.gelu;
  const float* everyone = has_everyone ? buffers_.everyone_RD + row * width() : nullptr;
  const int64_t first = row * config_.top_k;
  products_.rows().combine(everyone,
                           buffers_.expert_out_SD,
                           buffers_.dispatch.slot.data() + (block.routed ? first : 0),
                           buffers_.weight_RK + (block.routed ? first : 0),
                           block.routed ? config_.top_k : 0,
                           modulation(layer, row, kGateMlp),
                           width(),
                           buffers_.x_RD + row * width());
  if (block.timed) leave_time_experts(buffers_, row, width());
}

void DitForward::final_phase(std::span<float> out) {
  const kernels::PatchShape shape = patch_shape(config_, config_.output_channels());
  for_each_tile([&](const Tile& tile, int thread) {
    Lap lap(profile_, thread);
    float* normed = scratch_[static_cast<size_t>(thread)].rows_f32;
    for (int64_t i = 0; i < tile.rows; ++i) {
      const int64_t row = tile.first + i;
      add_feed_forward(config_.depth - 1, row);
      lap.end(Op::kCombine);
      const float* shift = conditioning_.last(row / config_.tokens());
      products_.rows().layer_norm_modulate(
          buffers_.x_RD + row * width(), shift, shift + width(), width(), normed + i * width());
      lap.end(Op::kNorm);
    }
    float* output = buffers_.output_RO + tile.first * shape.patch_size();
    products_.linear_f32(normed, tile.rows, weights_.final_linear, output, thread);
    lap.end(Op::kPatches);
  });
  pool_.run(images_, [&](int64_t image, int) {
    kernels::unpatchify(buffers_.output_RO + image * shape.image_size(),
                        shape,
                        out.data() + image * shape.image_size());
  });
}

void DitForward::record_routing(int64_t layer, RoutingTrace& trace) const {
  const BlockWeights& block = weights_.blocks[static_cast<size_t>(layer)];
  if (!block.routed && !block.timed) return;
  ++trace.moe_layers;
  for (int64_t image = 0; block.timed && image < images_; ++image) {
    const auto [expert, weight] = conditioning_.time_choice(layer, image);
    trace.index.insert(trace.index.end(), expert.begin(), expert.end());
    trace.weight.insert(trace.weight.end(), weight.begin(), weight.end());
  }
  if (!block.routed) return;
  const int64_t choices = rows() * config_.top_k;
  trace.index.insert(trace.index.end(), buffers_.expert_RK, buffers_.expert_RK + choices);
  trace.weight.insert(trace.weight.end(), buffers_.weight_RK, buffers_.weight_RK + choices);
}

}  // namespace ditmoe::networks
