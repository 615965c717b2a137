#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/thread_pool.h"

namespace ditmoe::networks {

// Shape of the small convolutional classifier that judges samples: three 3x3 convolutions (ReLU, 2x2
// max-pool after the second and third), a hidden layer whose ReLU output is the feature vector, and
// a linear classification layer.
struct ClassifierConfig {
  int64_t image_size = 28;
  int64_t channels = 1;
  int64_t num_classes = 10;
  std::vector<int64_t> conv_widths = {32, 64, 128};
  int64_t feature_size = 128;
};

// The classifier's torch-free forward; weights and config ("ditmoe.classifier" JSON) from safetensors.
class Classifier {
 public:
  static Classifier open(const std::string& path, base::ThreadPool& pool);

  const ClassifierConfig& config() const;
  const std::vector<std::string>& class_names() const;

  // images_NHWC uint8 → logits [N, num_classes] and features [N, feature_size]; either may be empty.
  void forward(std::span<const uint8_t> images_NHWC,
               std::span<float> logits,
               std::span<float> features);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace ditmoe::networks
