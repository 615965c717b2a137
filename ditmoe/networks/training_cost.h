#pragma once

#include <cstdint>

#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// One training step, as far as its cost goes.
struct TrainingSettings {
  int64_t batch = 1;                                        // images at a time: of one micro-batch
  kernels::Precision precision = kernels::Precision::kF32;  // kF32 or kBf16
  bool recompute = false;                                   // blocks are computed again in backward
};

// Bytes that a training process holds.
struct TrainingMemory {
  int64_t weights = 0;      // f32, and rounded ones where products take those
  int64_t gradients = 0;    // f32
  int64_t optimiser = 0;    // AdamW's two moments
  int64_t average = 0;      // of the weights
  int64_t activations = 0;  // kept for backward
  int64_t workspace = 0;    // what comes and goes within a block
  int64_t program = 0;      // libraries and compiled products

  int64_t total() const {
    return weights + gradients + optimiser + average + activations + workspace + program;
  }
};

// What `ditmoe train` takes at its peak with native kernels, data apart.
TrainingMemory training_memory(const DitConfig& config, const TrainingSettings& settings);

// Multiply-accumulates of forward and backward for one image: three times the forward's, four times
// where blocks are computed again.
int64_t training_macs(const DitConfig& config, bool recompute);

}  // namespace ditmoe::networks
