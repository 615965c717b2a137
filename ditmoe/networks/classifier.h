#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/json.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// Shape of the small convolutional classifier that judges samples. Pixels are scaled to [-1, 1];
// each stage is a 3x3 convolution with bias and a border of zeros, a 2x2 max-pool that drops an odd
// last row and column, and ReLU; then a hidden layer whose ReLU output is the feature vector, and a
// linear layer that gives one logit a class.
struct ClassifierConfig {
  int64_t image_size = 28;
  int64_t channels = 1;
  int64_t num_classes = 10;
  std::vector<int64_t> conv_widths = {32, 64, 128};
  int64_t feature_size = 128;

  // Height and width of what the last stage yields.
  int64_t pooled_size() const { return image_size >> conv_widths.size(); }

  // Throws bad_input "<source>: <key>: ..." for a shape that cannot be.
  void validate(const std::string& source) const;

  bool operator==(const ClassifierConfig&) const = default;
};

// Every tensor in order: conv.<i>.weight [out, in, 3, 3] and .bias, hidden.weight
// [feature_size, pooled_size² · width] (inputs ordered row, column, channel) and .bias, head.weight
// [num_classes, feature_size] and .bias.
std::vector<TensorSpec> tensor_specs(const ClassifierConfig& config);

// Where a classifier's file has its configuration in `__metadata__`.
inline constexpr const char* kClassifierKey = "ditmoe.classifier";

// As stored in a file under kClassifierKey: keys are the field names.
base::Json to_json(const ClassifierConfig& config);

// Inverse of to_json. Missing keys keep their defaults; unknown keys, wrong types and impossible
// shapes throw bad_input naming source and key.
ClassifierConfig classifier_config_from_json(const base::Json& json, const std::string& source);

// The configuration in a file's metadata, nullopt where the file is no classifier. source names the
// file in messages.
std::optional<ClassifierConfig> read_classifier_config(
    const std::map<std::string, std::string>& metadata, const std::string& source);

// The classifier's torch-free forward in f32.
class Classifier {
 public:
  // Reads configuration ("ditmoe.classifier"), class names ("ditmoe.class_names", a JSON list) and
  // weights of any float type from a safetensors file. pool must outlive the classifier.
  // Throws bad_input naming the file and what is missing, misshapen or unknown in it.
  static Classifier open(const std::string& path, base::ThreadPool& pool);

  const ClassifierConfig& config() const;

  // One for each class, or none where the file has none.
  const std::vector<std::string>& class_names() const;

  // images_NHWC [N, image_size, image_size, channels] → logits [N, num_classes] and features
  // [N, feature_size]; either may be empty. An image's results do not depend on the others or on
  // the number of threads. Throws bad_input where the images are not a whole number.
  void forward(std::span<const uint8_t> images_NHWC,
               std::span<float> logits,
               std::span<float> features) const;

 private:
  struct State;

  explicit Classifier(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace ditmoe::networks
