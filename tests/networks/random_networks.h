#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/model_file.h"

#include "dit_reference.h"
#include "tests/support/arrays.h"

// Small networks of random weights, and their forward.

namespace ditmoe::networks {

// A small DiT-MoE.
inline DitConfig small_config() {
  DitConfig config;
  config.image_size = 8;
  config.channels = 3;
  config.width = 32;
  config.depth = 2;
  config.heads = 4;
  config.num_classes = 5;
  config.experts = 4;
  config.expert_width = 48;
  return config;
}

using Weights = std::map<std::string, base::Tensor>;

// Random weights under which every part of the network has its say: adaLN is not zero.
inline Weights random_weights(const DitConfig& config) {
  Weights weights;
  uint64_t index = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    base::Tensor tensor(base::DType::kF32, spec.shape);
    base::fill_normal(tensor.as<float>(), {.seed = 7, .index = index++});
    const bool vector = spec.shape.size() == 1;
    const double inputs = static_cast<double>(tensor.size()) / static_cast<double>(spec.shape[0]);
    const double deviation = vector || spec.name == "pos_embed" ? 0.3 : 1.0 / std::sqrt(inputs);
    for (float& value : tensor.as<float>()) {
      value *= static_cast<float>(deviation);
    }
    weights.emplace(spec.name, std::move(tensor));
  }
  return weights;
}

// A model on disk for as long as it takes to open it; the mapping outlives the name.
inline ModelFile model_of(const DitConfig& config, const Weights& weights) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("ditmoe_executor_" + std::to_string(::getpid()) + ".safetensors");
  formats::NamedTensors views;
  for (const auto& [name, tensor] : weights) {
    views.emplace_back(name, tensor.view());
  }
  save_model(path, config, views, {}, default_sampling(config.objective), base::DType::kF32);
  ModelFile model = ModelFile::open(path);
  std::filesystem::remove(path);
  return model;
}

inline ModelFile random_model(const DitConfig& config) {
  return model_of(config, random_weights(config));
}

// A batch in which no two images have the same t and y.
struct Batch {
  Batch(const DitConfig& config, int64_t images)
      : x(tests::normal_values(images * config.channels * config.image_size * config.image_size,
                               3)),
        out(static_cast<size_t>(images * config.output_channels() * config.image_size *
                                config.image_size)) {
    for (int64_t image = 0; image < images; ++image) {
      t.push_back(static_cast<float>(37 * image % 1000));
      y.push_back(static_cast<int32_t>(image % (config.num_classes + 1)));
    }
  }

  std::vector<float> x;
  std::vector<float> t;
  std::vector<int32_t> y;
  std::vector<float> out;
};

inline std::vector<float> predict(const ModelFile& model,
                                  Batch batch,
                                  int threads = 2,
                                  const ExecutorOptions& options = {}) {
  base::ThreadPool pool(threads);
  DitExecutor(model, options, pool).predict(batch.x, batch.t, batch.y, batch.out);
  return batch.out;
}

// The same as a Switch-DiT.
inline DitConfig switch_config(int64_t experts, int64_t top_k) {
  DitConfig config = small_config();
  config.feed_forward = FeedForward::kGelu;
  config.time_experts = experts;
  config.time_top_k = top_k;
  return config;
}

// Two images of the executor against DitReference.
inline void expect_matches_definition(const DitConfig& config, const ModelFile& model) {
  const Batch batch(config, 2);
  const std::vector<float> out = predict(model, batch);
  const DitReference reference(model);
  std::vector<float> expected;
  for (size_t image = 0; image < 2; ++image) {
    const float* x = batch.x.data() + image * batch.x.size() / 2;
    const std::vector<float> one = reference.predict(x, batch.t[image], batch.y[image]);
    expected.insert(expected.end(), one.begin(), one.end());
  }
  EXPECT_TRUE(tests::close(out, expected, 1e-4)) << to_json(config).dump();
}

inline void expect_matches_definition(const DitConfig& config) {
  expect_matches_definition(config, random_model(config));
}

}  // namespace ditmoe::networks
