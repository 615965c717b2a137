#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/products.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/dit_weights.h"

namespace ditmoe::networks {

// The adaLN modulation of every block for a pair of time and label, and of a Switch-DiT the experts
// that the time chooses. It depends on nothing else, so
// pairs that occur again are looked up: the null label of guidance within a batch, and every pair
// when a further batch goes through the same steps. All layers are computed at once.
class DitConditioning {
 public:
  // All must outlive this object.
  DitConditioning(const DitConfig& config,
                  const DitWeights& weights,
                  const kernels::Products& products,
                  base::ThreadPool& pool);

  // Makes the modulation of images with these times and labels available. Labels are in range.
  void prepare(std::span<const float> t_N, std::span<const int32_t> y_N);

  // One image's shift, scale and gate of attention, then of the feed-forward: [6, D].
  const float* block(int64_t layer, int64_t image) const;

  // The experts before a block that one image takes, ascending, and their softmax values, which are
  // not renormalised: [K] each. Only in networks that have them.
  struct TimeChoice {
    std::span<const int32_t> expert;
    std::span<const float> weight;
  };

  TimeChoice time_choice(int64_t layer, int64_t image) const;

  // One image's shift and scale before the last layer: [2, D].
  const float* last(int64_t image) const;

 private:
  struct Pair {
    uint32_t time_bits;
    int32_t label;

    bool operator==(const Pair&) const = default;
  };

  // Where the pair is or will be; a slot beyond computed_ has to be computed.
  int32_t slot_of(const Pair& pair);
  void grow(int64_t slots);
  void compute(int64_t first, int64_t count);
  void choose_experts(int64_t layer, int64_t first, int64_t count);

  const DitConfig& config_;
  const DitWeights& weights_;
  const kernels::Products& products_;
  base::ThreadPool& pool_;
  std::unique_ptr<base::Arena> arena_;
  float* table_LS6D_ = nullptr;  // S slots
  float* last_S2D_ = nullptr;
  int32_t* time_expert_LSK_ = nullptr;  // K = time_top_k
  float* time_weight_LSK_ = nullptr;
  float* logits_L3E_ = nullptr;  // what the choice works in
  float* time_S256_ = nullptr;
  float* hidden_SD_ = nullptr;      // of the time's MLP; then SiLU(time)
  float* condition_SD_ = nullptr;   // SiLU(time + label)
  kernels::Activations inputs_SD_;  // the same as products of the modulation take it
  std::vector<Pair> pairs_;         // of the slots in use
  std::vector<int32_t> slots_N_;    // of the images
  int64_t capacity_ = 0;
};

}  // namespace ditmoe::networks
