#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/networks/dit_executor.h"

namespace ditmoe::pipeline {

// What rounding changes in one forward of a batch at one noise level.
struct PrecisionAtLevel {
  double level = 0;           // steps 0..999, or t of a rectified flow
  double nmse = 0;            // mean squared difference over mean square of the exact output
  double same_routing = 1.0;  // share of a token's choices, over all layers, that are the same
};

// The same averaged: nmse over the pooled squares, routing over the choices.
struct PrecisionReport {
  std::vector<PrecisionAtLevel> levels;
  double nmse = 0;
  double same_routing = 1.0;
};

// Compares two executors of one network on noised images at `levels` noise levels spread evenly
// over the network's time.
//   images_NCHW [N, C, H, W] in [-1, 1], labels [N]
PrecisionReport compare_precisions(networks::DitExecutor& exact,
                                   networks::DitExecutor& rounded,
                                   networks::Objective objective,
                                   const base::Tensor& images_NCHW,
                                   std::span<const int32_t> labels,
                                   int64_t levels,
                                   uint64_t seed);

}  // namespace ditmoe::pipeline
