#pragma once

#include <cstdint>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/dtype.h"

namespace ditmoe::kernels {

// Loops of a backward pass over one row, compiled for several instruction sets. dx stands for the
// derivative of the loss by x. What is said to be added to (+=) sums over rows; the order of calls
// decides its rounding. Nothing aliases unless said. Scalar definitions are in ref/gradients.h.
template <typename T>
struct SwigluKernels {
  // hidden = silu(gate) · up for rows [gate | up] of 2 · width.
  void (*forward)(const T* gate_up, int64_t rows, int64_t width, T* hidden);

  // Of y = weight · (hidden W^T), given dhidden = dy W. Writes [dgate | dup] and weight · hidden,
  // which the gradient of W is made of, and returns dweight = sum of dhidden · hidden.
  //   gate_up and dgate_up [2 · width]; dgate_up may be gate_up, weighted may be dhidden
  float (*backward)(
      const T* gate_up, const T* dhidden, float weight, int64_t width, T* dgate_up, T* weighted);
};

template <typename T>
struct SoftmaxKernels {
  // p = softmax(scale · scores), ds = scale · p · (dp - sum of p · dp): the scores' gradient.
  //   scores [size], overwritten; dp, p and ds [size]
  void (*backward)(float* scores, const float* dp, float scale, int64_t size, T* p, T* ds);
};

struct GradientKernels {
  // Of y = norm(x) · (1 + scale) + shift: dx, dshift += dy, dscale += dy · norm(x).
  void (*layer_norm_modulate)(const float* x,
                              const float* scale,
                              const float* dy,
                              int64_t width,
                              float* dx,
                              float* dshift,
                              float* dscale);

  // Of y = norm(x) · weight + bias, likewise; dx may be dy.
  void (*layer_norm_affine)(const float* x,
                            const float* weight,
                            const float* dy,
                            int64_t width,
                            float* dx,
                            float* dweight,
                            float* dbias);

  // y = norm(x) · weight + bias; y may be x.
  void (*layer_norm_affine_forward)(
      const float* x, const float* weight, const float* bias, int64_t width, float* y);

  // Of y = x + gate · update: dupdate = gate · dy, dgate += dy · update.
  void (*gated_residual)(const float* update,
                         const float* gate,
                         const float* dy,
                         int64_t width,
                         float* dupdate,
                         float* dgate);

  SwigluKernels<float> swiglu_f32;
  SwigluKernels<base::BFloat16> swiglu_bf16;
  SoftmaxKernels<float> softmax_f32;
  SoftmaxKernels<base::BFloat16> softmax_bf16;

  template <typename T>
  const SwigluKernels<T>& swiglu() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return swiglu_f32;
    } else {
      return swiglu_bf16;
    }
  }

  template <typename T>
  const SoftmaxKernels<T>& softmax() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return softmax_f32;
    } else {
      return softmax_bf16;
    }
  }
};

// isa must be one the CPU has.
const GradientKernels& gradient_kernels(base::Isa isa = base::chosen_isa());

}  // namespace ditmoe::kernels
