#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/kernels/expert_dispatch.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// Every intermediate value of one forward that passes between threads. N images, T tokens, R = N·T
// rows, D width, L layers, E experts, K top-k, O values of one output patch.
struct DitBuffers {
  std::vector<float> time_N256;        // sinusoids of t
  std::vector<float> hidden_ND;        // inside the timestep MLP
  std::vector<float> condition_ND;     // SiLU(t embedding + label embedding)
  std::vector<float> modulation_LN6D;  // of every block
  std::vector<float> final_modulation_N2D;
  std::vector<float> x_RD;       // the residual stream
  std::vector<float> normed_RD;  // what the feed-forward takes
  std::vector<float> qkv_R3D;
  std::vector<float> attended_RD;    // heads side by side, before proj
  std::vector<float> everyone_RD;    // what the dense or shared part of the feed-forward gives
  std::vector<int32_t> expert_RK;    // chosen experts, ascending
  std::vector<float> weight_RK;      // and their softmax weights
  kernels::ExpertDispatch dispatch;  // rows sorted by expert
  std::vector<float> expert_out_SD;  // S = R·K slots in sorted order
  std::vector<float> output_RO;      // patches of the prediction

  // Makes room for so many images; what was there is lost. Memory is kept for later calls.
  void resize(const DitConfig& config, int64_t images);
};

// What one thread works in: never more than one tile of rows.
struct DitScratch {
  explicit DitScratch(const DitConfig& config);

  std::vector<float> patches;    // one image's patches
  std::vector<float> attention;  // scores and normalised heads
  std::vector<float> rows_in;    // [tile, D] gathered or normalised rows
  std::vector<float> rows_out;   // [tile, D]
  std::vector<float> logits;     // [tile, E]
  std::vector<float> gate_up;    // [tile, 2 · chunk]
  std::vector<float> hidden;     // [tile, F]
};

}  // namespace ditmoe::networks
