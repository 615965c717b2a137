#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/networks/classifier.h"

namespace ditmoe::networks {
namespace {

constexpr int64_t kMaxImageSize = 1024;
constexpr int64_t kMaxWidth =
    4096;  // of any layer, so that sizes of weights stay far from overflow

constexpr std::array<std::string_view, 5> kKeys = {
    "image_size", "channels", "num_classes", "conv_widths", "feature_size"};

int64_t whole_number(const base::Json& json, const std::string& source, std::string_view key) {
  if (!json.is_number_integer()) {
    base::bad_input("{}: {}: expected a whole number, found {}", source, key, json.type_name());
  }
  return json.get<int64_t>();
}

void expect_range(int64_t value, int64_t last, const std::string& source, std::string_view key) {
  if (value < 1 || value > last) {
    base::bad_input("{}: {}: expected 1 to {}, found {}", source, key, last, value);
  }
}

}  // namespace

void ClassifierConfig::validate(const std::string& source) const {
  expect_range(image_size, kMaxImageSize, source, "image_size");
  expect_range(channels, kMaxWidth, source, "channels");
  expect_range(num_classes, kMaxWidth, source, "num_classes");
  expect_range(feature_size, kMaxWidth, source, "feature_size");
  int64_t max_stages = 0;
  while ((image_size >> (max_stages + 1)) > 0) ++max_stages;
  expect_range(
      static_cast<int64_t>(conv_widths.size()), max_stages, source, "number of conv_widths");
  for (const int64_t width : conv_widths) expect_range(width, kMaxWidth, source, "conv_widths");
}

std::vector<TensorSpec> tensor_specs(const ClassifierConfig& config) {
  std::vector<TensorSpec> specs;
  int64_t inputs = config.channels;
  for (size_t stage = 0; stage < config.conv_widths.size(); ++stage) {
    const int64_t width = config.conv_widths[stage];
    specs.push_back({fmt::format("conv.{}.weight", stage), {width, inputs, 3, 3}});
    specs.push_back({fmt::format("conv.{}.bias", stage), {width}});
    inputs = width;
  }
  inputs *= config.pooled_size() * config.pooled_size();
  specs.push_back({"hidden.weight", {config.feature_size, inputs}});
  specs.push_back({"hidden.bias", {config.feature_size}});
  specs.push_back({"head.weight", {config.num_classes, config.feature_size}});
  specs.push_back({"head.bias", {config.num_classes}});
  return specs;
}

base::Json to_json(const ClassifierConfig& config) {
  return {{"image_size", config.image_size},
          {"channels", config.channels},
          {"num_classes", config.num_classes},
          {"conv_widths", config.conv_widths},
          {"feature_size", config.feature_size}};
}

ClassifierConfig classifier_config_from_json(const base::Json& json, const std::string& source) {
  if (!json.is_object()) {
    base::bad_input("{}: expected an object, found {}", source, json.type_name());
  }
  ClassifierConfig config;
  for (const auto& [key, value] : json.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      base::bad_input("{}: unknown key {}", source, base::quoted(key));
    }
    if (key == "image_size") config.image_size = whole_number(value, source, key);
    if (key == "channels") config.channels = whole_number(value, source, key);
    if (key == "num_classes") config.num_classes = whole_number(value, source, key);
    if (key == "feature_size") config.feature_size = whole_number(value, source, key);
    if (key == "conv_widths") {
      if (!value.is_array()) {
        base::bad_input("{}: {}: expected a list, found {}", source, key, value.type_name());
      }
      config.conv_widths.clear();
      for (const auto& width : value) {
        config.conv_widths.push_back(whole_number(width, source, key));
      }
    }
  }
  config.validate(source);
  return config;
}

std::optional<ClassifierConfig> read_classifier_config(
    const std::map<std::string, std::string>& metadata, const std::string& source) {
  const auto found = metadata.find(kClassifierKey);
  if (found == metadata.end()) return std::nullopt;
  const std::string place = fmt::format("{}: {}", source, kClassifierKey);
  return classifier_config_from_json(base::parse_json(found->second, place), place);
}

}  // namespace ditmoe::networks
