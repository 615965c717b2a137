#pragma once

#include <string>

#include <torch/torch.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/parameters.h"

namespace ditmoe::tests {

// Standard normal numbers times deviation; the same for the same seed.
inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed, double deviation = 1.0) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  base::fill_normal({tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())},
                    {.seed = seed});
  return tensor.mul_(deviation);
}

// |actual - expected| over the largest |expected|; infinite where a NaN is on either side.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || !at::isfinite(actual).all().item<bool>()) {
    return std::numeric_limits<double>::infinity();
  }
  if (expected.numel() == 0) return 0.0;
  const double largest = expected.abs().max().item<double>();
  return (actual - expected).abs().max().item<double>() / std::max(largest, 1e-30);
}

// A network small enough for tests: 4 tokens, two blocks.
inline networks::DitConfig tiny_config() {
  networks::DitConfig config;
  config.image_size = 8;
  config.patch_size = 4;
  config.channels = 1;
  config.width = 16;
  config.depth = 2;
  config.heads = 2;
  config.num_classes = 3;
  config.experts = 4;
  config.top_k = 2;
  config.shared_experts = 1;
  return config;
}

// Every tensor N(0, 0.3): a network whose zero-initialised layers do something.
inline void randomise(training::ParameterSet& parameters, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  parameters.values().copy_(random_tensor(parameters.values().sizes(), seed, 0.3));
}

inline training::TrainingBatch random_batch(const networks::DitConfig& config,
                                            int64_t images,
                                            uint64_t seed) {
  training::TrainingBatch batch;
  batch.x_start =
      random_tensor({images, config.channels, config.image_size, config.image_size}, seed, 0.5)
          .clamp_(-1.0, 1.0);
  batch.noise = random_tensor(batch.x_start.sizes(), seed + 1);
  batch.y = at::arange(images, at::kLong).remainder(config.num_classes + 1);
  batch.t = at::arange(images, at::kFloat).mul(997.0 / static_cast<double>(images)).floor();
  return batch;
}

}  // namespace ditmoe::tests
