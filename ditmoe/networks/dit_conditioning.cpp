#include "ditmoe/networks/dit_conditioning.h"

#include <algorithm>
#include <bit>

#include "ditmoe/kernels/router.h"
#include "ditmoe/kernels/silu.h"
#include "ditmoe/kernels/timestep_embedding.h"

namespace ditmoe::networks {
namespace {

// What all slots may take: those of fifty steps with ten labels in S/2.
constexpr int64_t kTableBytes = int64_t{64} << 20;

// More slots than this would cost more to search than to compute.
constexpr int64_t kMaxSlots = 4096;

}  // namespace

DitConditioning::DitConditioning(const DitConfig& config,
                                 const DitWeights& weights,
                                 const kernels::Products& products,
                                 base::ThreadPool& pool)
    : config_(config), weights_(weights), products_(products), pool_(pool) {
  const int64_t slot_bytes = (6 * config.depth + 2) * config.width * 4;
  grow(std::clamp<int64_t>(kTableBytes / slot_bytes, 2, kMaxSlots));
}

const float* DitConditioning::block(int64_t layer, int64_t image) const {
  return table_LS6D_ +
         (layer * capacity_ + slots_N_[static_cast<size_t>(image)]) * 6 * config_.width;
}

const float* DitConditioning::last(int64_t image) const {
  return last_S2D_ + int64_t{slots_N_[static_cast<size_t>(image)]} * 2 * config_.width;
}

DitConditioning::TimeChoice DitConditioning::time_choice(int64_t layer, int64_t image) const {
  const int64_t slot = layer * capacity_ + slots_N_[static_cast<size_t>(image)];
  const auto count = static_cast<size_t>(config_.time_top_k);
  return {{time_expert_LSK_ + slot * config_.time_top_k, count},
          {time_weight_LSK_ + slot * config_.time_top_k, count}};
}

void DitConditioning::grow(int64_t slots) {
  const int64_t width = config_.width;
  pairs_.clear();
  capacity_ = 0;  // of what follows, should memory run out
  arena_ = std::make_unique<base::Arena>(size_t{2} << 20);
  table_LS6D_ = arena_->take_array<float>(config_.depth * slots * 6 * width);
  last_S2D_ = arena_->take_array<float>(slots * 2 * width);
  time_expert_LSK_ = arena_->take_array<int32_t>(config_.depth * slots * config_.time_top_k);
  time_weight_LSK_ = arena_->take_array<float>(config_.depth * slots * config_.time_top_k);
  logits_L3E_ = arena_->take_array<float>(config_.depth * 3 * config_.time_experts);
  time_S256_ = arena_->take_array<float>(slots * kernels::kTimestepWidth);
  hidden_SD_ = arena_->take_array<float>(slots * width);
  condition_SD_ = arena_->take_array<float>(slots * width);
  inputs_SD_ = {products_.matmul().computed(weights_.final_modulation.precision()),
                width,
                reinterpret_cast<std::byte*>(condition_SD_),
                nullptr};
  if (inputs_SD_.precision != kernels::Precision::kF32) {
    inputs_SD_.values = arena_->take(static_cast<size_t>(slots * inputs_SD_.row_bytes()));
  }
  pairs_.reserve(static_cast<size_t>(slots));
  capacity_ = slots;
}

int32_t DitConditioning::slot_of(const Pair& pair) {
  const auto found = std::ranges::find(pairs_, pair);
  if (found == pairs_.end()) {
    pairs_.push_back(pair);
    return static_cast<int32_t>(pairs_.size()) - 1;
  }
  return static_cast<int32_t>(found - pairs_.begin());
}

void DitConditioning::prepare(std::span<const float> t_N, std::span<const int32_t> y_N) {
  const auto images = static_cast<int64_t>(t_N.size());
  if (images > capacity_) grow(images);
  // When there might be too little room, everything is forgotten at once.
  if (static_cast<int64_t>(pairs_.size()) + images > capacity_) pairs_.clear();
  const auto computed = static_cast<int64_t>(pairs_.size());
  slots_N_.resize(t_N.size());
  for (size_t i = 0; i < t_N.size(); ++i) {
    slots_N_[i] = slot_of({std::bit_cast<uint32_t>(t_N[i]), y_N[i]});
  }
  const int64_t missing = static_cast<int64_t>(pairs_.size()) - computed;
  if (missing == 0) return;
  try {
    compute(computed, missing);
  } catch (...) {
    pairs_.resize(static_cast<size_t>(computed));  // none may be taken for known
    throw;
  }
}

void DitConditioning::compute(int64_t first, int64_t count) {
  const int64_t width = config_.width;
  float* hidden = hidden_SD_ + first * width;
  float* condition = condition_SD_ + first * width;
  float* time = time_S256_ + first * kernels::kTimestepWidth;
  for (int64_t i = 0; i < count; ++i) {
    const auto t = std::bit_cast<float>(pairs_[static_cast<size_t>(first + i)].time_bits);
    kernels::timestep_embedding(&t, 1, time + i * kernels::kTimestepWidth);
  }
  products_.linear_f32(time, count, weights_.time_0, hidden, 0);
  for (int64_t i = 0; i < count; ++i) {
    kernels::silu(hidden + i * width, width, hidden + i * width);
  }
  products_.linear_f32(hidden, count, weights_.time_2, condition, 0);
  for (int64_t i = 0; config_.time_experts > 0 && i < count; ++i) {
    kernels::silu(condition + i * width, width, hidden + i * width);
  }
  const float* labels = weights_.labels_LD.as<float>().data();
  const kernels::Activations inputs = inputs_SD_.from(first);
  for (int64_t i = 0; i < count; ++i) {
    float* row = condition + i * width;
    const float* label = labels + pairs_[static_cast<size_t>(first + i)].label * width;
    for (int64_t k = 0; k < width; ++k) row[k] += label[k];
    // Every use of the condition begins with this SiLU.
    kernels::silu(row, width, row);
    if (inputs.precision != kernels::Precision::kF32) inputs.store(products_.rows(), row, i);
  }
  pool_.run(config_.depth + 1, [&](int64_t layer, int thread) {
    const bool is_last = layer == config_.depth;
    if (!is_last && config_.time_experts > 0) choose_experts(layer, first, count);
    products_.linear(inputs,
                     count,
                     is_last ? weights_.final_modulation
                             : weights_.blocks[static_cast<size_t>(layer)].modulation,
                     nullptr,
                     is_last ? last_S2D_ + first * 2 * width
                             : table_LS6D_ + (layer * capacity_ + first) * 6 * width,
                     thread);
  });
}

void DitConditioning::choose_experts(int64_t layer, int64_t first, int64_t count) {
  const TimeExpertWeights& timed = *weights_.blocks[static_cast<size_t>(layer)].timed;
  const int64_t experts = config_.time_experts;
  const float* bias = timed.gate_E.as<float>().data();
  float* logits = logits_L3E_ + layer * 3 * experts;
  for (int64_t slot = first; slot < first + count; ++slot) {
    const float* time = hidden_SD_ + slot * config_.width;
    products_.rows().router_logits(
        time, timed.gate_ED.as<float>().data(), experts, config_.width, logits);
    for (int64_t i = 0; i < experts; ++i) logits[i] += bias[i];
    const int64_t choice = (layer * capacity_ + slot) * config_.time_top_k;
    kernels::route(logits,
                   1,
                   experts,
                   {},
                   config_.time_top_k,
                   logits + experts,
                   time_expert_LSK_ + choice,
                   time_weight_LSK_ + choice);
  }
}

}  // namespace ditmoe::networks
