#include "ditmoe/training/adamw.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/bfloat16.h"

namespace ditmoe::training {
namespace {

// Scalars of one update, rounded to f32 once.
struct Coefficients {
  float keep;  // 1 - lr·weight_decay
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float step;          // lr / (1 - β1ⁿ)
  float inverse_root;  // 1 / √(1 - β2ⁿ)
  float epsilon;
  float gradient_scale;
  float ema_decay, one_minus_ema_decay;
};

template <bool kHalf>
void update_range(const Coefficients& c,
                  const float* __restrict gradient,
                  float* __restrict first,
                  float* __restrict second,
                  float* __restrict value,
                  float* __restrict ema,
                  base::BFloat16* __restrict half,
                  int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = c.gradient_scale * gradient[i];
    const float m = c.beta1 * first[i] + c.one_minus_beta1 * g;
    const float v = c.beta2 * second[i] + c.one_minus_beta2 * g * g;
    const float w = c.keep * value[i] - c.step * m / (std::sqrt(v) * c.inverse_root + c.epsilon);
    first[i] = m;
    second[i] = v;
    value[i] = w;
    ema[i] = c.ema_decay * ema[i] + c.one_minus_ema_decay * w;
    if constexpr (kHalf) half[i] = kernels::narrow(w);
  }
}

double sum_of_squares(const float* values, int64_t count) {
  constexpr int64_t kLanes = 8;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      lanes[lane] += value * value;
    }
  }
  for (; i < count; ++i) lanes[0] += static_cast<double>(values[i]) * values[i];
  return std::accumulate(lanes, lanes + kLanes, 0.0);
}

}  // namespace

AdamwState make_adamw_state(const at::Tensor& values) {
  return {at::zeros_like(values), at::zeros_like(values), 0};
}

void adamw_step(const AdamwSettings& settings,
                double learning_rate,
                double gradient_scale,
                double ema_decay,
                const at::Tensor& gradients,
                AdamwState& state,
                at::Tensor& values,
                at::Tensor& ema,
                const at::Tensor& half) {
  const int64_t size = values.numel();
  DITMOE_ASSERT(gradients.numel() == size && ema.numel() == size && state.first.numel() == size);
  ++state.updates;
  const auto n = static_cast<double>(state.updates);
  Coefficients c{};
  c.keep = static_cast<float>(1.0 - learning_rate * settings.weight_decay);
  c.beta1 = static_cast<float>(settings.beta1);
  c.one_minus_beta1 = static_cast<float>(1.0 - settings.beta1);
  c.beta2 = static_cast<float>(settings.beta2);
  c.one_minus_beta2 = static_cast<float>(1.0 - settings.beta2);
  c.step = static_cast<float>(learning_rate / (1.0 - std::pow(settings.beta1, n)));
  c.inverse_root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(settings.beta2, n)));
  c.epsilon = static_cast<float>(settings.epsilon);
  c.gradient_scale = static_cast<float>(gradient_scale);
  c.ema_decay = static_cast<float>(ema_decay);
  c.one_minus_ema_decay = static_cast<float>(1.0 - ema_decay);

  const float* gradient = gradients.data_ptr<float>();
  float* first = state.first.data_ptr<float>();
  float* second = state.second.data_ptr<float>();
  float* value = values.data_ptr<float>();
  float* average = ema.data_ptr<float>();
  auto* narrow =
      half.defined() ? reinterpret_cast<base::BFloat16*>(half.data_ptr<at::BFloat16>()) : nullptr;
  const auto update = narrow != nullptr ? update_range<true> : update_range<false>;
  constexpr int64_t kGrain = 1 << 16;
  at::parallel_for(0, size, kGrain, [&](int64_t begin, int64_t end) {
    update(c,
           gradient + begin,
           first + begin,
           second + begin,
           value + begin,
           average + begin,
           narrow != nullptr ? narrow + begin : nullptr,
           end - begin);
  });
}

double gradient_norm(const at::Tensor& gradients) {
  constexpr int64_t kPiece = 1 << 16;
  const int64_t size = gradients.numel();
  const float* data = gradients.data_ptr<float>();
  std::vector<double> sums(static_cast<size_t>((size + kPiece - 1) / kPiece));
  at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      sums[static_cast<size_t>(piece)] =
          sum_of_squares(data + piece * kPiece, std::min(kPiece, size - piece * kPiece));
    }
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

}  // namespace ditmoe::training
