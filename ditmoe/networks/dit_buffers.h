#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/kernels/expert_dispatch.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// The types of one executor's activations.
struct ActivationTypes {
  kernels::Precision products = kernels::Precision::kF32;  // what large products take

  // Attention and hidden layers: f32, or bfloat16 in the other precisions.
  kernels::Precision wide() const {
    return products == kernels::Precision::kF32 ? products : kernels::Precision::kBf16;
  }
};

// Every intermediate value of one forward that passes between threads, in one arena. R = N·T rows,
// D width, K top-k, O values of one output patch. qkv and attended hold float or BFloat16.
struct DitBuffers {
  float* x_RD = nullptr;           // the residual stream
  float* masked_RD = nullptr;      // what experts before a block add for as long as it lasts
  kernels::Activations normed_RD;  // what the feed-forward takes
  kernels::Activations qkv_R3D;
  kernels::Activations attended_RD;  // heads side by side, before proj
  float* everyone_RD = nullptr;      // what the dense or shared part of the feed-forward gives
  int32_t* expert_RK = nullptr;      // chosen experts, ascending
  float* weight_RK = nullptr;        // and their softmax weights
  float* expert_out_SD = nullptr;    // S = R·K slots in sorted order
  float* output_RO = nullptr;        // patches of the prediction
  kernels::ExpertDispatch dispatch;  // rows sorted by expert
  int64_t capacity = 0;              // images there is room for

  // Makes room for so many images; what was there is lost. Memory is kept for later calls.
  void reserve(const DitConfig& config, const ActivationTypes& types, int64_t images);

 private:
  std::unique_ptr<base::Arena> arena_;
};

// What one thread works in: never more than one tile of rows. F is the widest hidden layer.
struct DitScratch {
  DitScratch(const DitConfig& config, const ActivationTypes& types, base::Arena& arena);

  float* patches = nullptr;          // one image's patches
  std::vector<float> attention;      // what kernels::attention works in
  float* row_D = nullptr;            // one normalised row
  float* rows_f32 = nullptr;         // [tile, D]
  float* choice = nullptr;           // [3, E] logits and what the choice of experts works in
  kernels::Activations rows;         // [tile, D] gathered or normalised rows
  void* wide = nullptr;              // [tile, max(D, 2 · chunk)] numbers of 4 bytes
  kernels::Activations hidden;       // [tile, F] float or BFloat16
  kernels::Activations hidden_int8;  // [tile, F] in int8
};

}  // namespace ditmoe::networks
