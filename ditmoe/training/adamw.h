#pragma once

#include <cstdint>

#include <torch/types.h>

namespace ditmoe::training {

// AdamW (Loshchilov & Hutter 2019) over one flat f32 buffer, fused with the EMA of the weights.
struct AdamwSettings {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

// First and second moments, shaped as the flat parameters, and the number of updates made.
struct AdamwState {
  at::Tensor first;
  at::Tensor second;
  int64_t updates = 0;
};

AdamwState make_adamw_state(const at::Tensor& values);

// One update, in place, in one pass over memory:
//   w ← w·(1 - lr·decay); m ← β1·m + (1-β1)·g; v ← β2·v + (1-β2)·g²
//   w ← w - lr·(m/(1-β1ⁿ)) / (√(v/(1-β2ⁿ)) + ε); e ← ema_decay·e + (1-ema_decay)·w
// with g = gradient_scale·gradients. All buffers f32, contiguous, on the CPU, of one length. half,
// where defined, is bfloat16 and gets the new weights rounded.
void adamw_step(const AdamwSettings& settings,
                double learning_rate,
                double gradient_scale,
                double ema_decay,
                const at::Tensor& gradients,
                AdamwState& state,
                at::Tensor& values,
                at::Tensor& ema,
                const at::Tensor& half = {});

// The Euclidean norm of a flat f32 buffer, its squares summed in f64 and in an order that no number
// of threads changes.
double gradient_norm(const at::Tensor& gradients);

}  // namespace ditmoe::training
