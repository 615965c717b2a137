#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>
#include <x86intrin.h>

namespace ditmoe::networks {

// Parts of a forward that --profile tells apart.
enum class Op {
  kCondition,
  kNorm,  // residual of attention, LayerNorm, modulate, round
  kQkv,
  kAttention,
  kProj,
  kRouter,
  kGather,
  kGateUp,  // with SwiGLU; or the first half of an MLP
  kDown,
  kTimeExperts,  // of a Switch-DiT, before a block
  kCombine,      // weighted sum of the experts, residual
  kPatches,      // in and out
  kCount
};

std::string_view name_of(Op op);

// Time-stamp cycles that threads spent in each part. Off, it costs a branch.
class Profile {
 public:
  explicit Profile(int threads) : times_(static_cast<size_t>(threads)) {}

  void enable(bool on) { enabled_ = on; }

  bool enabled() const { return enabled_; }

  void clear() {
    for (Times& times : times_) times = {};
  }

  // Sum over threads.
  uint64_t cycles(Op op) const {
    uint64_t sum = 0;
    for (const Times& times : times_) sum += times.cycles[static_cast<size_t>(op)];
    return sum;
  }

 private:
  friend class Lap;

  // A thread's own cache lines.
  struct alignas(128) Times {
    std::array<uint64_t, static_cast<size_t>(Op::kCount)> cycles = {};
  };

  bool enabled_ = false;
  std::vector<Times> times_;
};

// Takes the time on one thread from one part to the next.
class Lap {
 public:
  Lap(Profile& profile, int thread)
      : times_(profile.enabled_ ? &profile.times_[static_cast<size_t>(thread)] : nullptr),
        last_(times_ != nullptr ? __rdtsc() : 0) {}

  // What has passed since the last call belongs to op.
  void end(Op op) {
    if (times_ == nullptr) return;
    const uint64_t now = __rdtsc();
    times_->cycles[static_cast<size_t>(op)] += now - last_;
    last_ = now;
  }

 private:
  Profile::Times* times_;
  uint64_t last_;
};

}  // namespace ditmoe::networks
