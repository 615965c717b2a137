#include "ditmoe/networks/classifier.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/idx.h"
#include "ditmoe/formats/safetensors.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

using formats::test::expect_error;
using formats::test::TempDir;
using tests::close;
using tests::normal_values;

// An odd size, more than one channel and widths that no vector register divides.
const ClassifierConfig kSmall = {
    .image_size = 11, .channels = 2, .num_classes = 3, .conv_widths = {5, 7}, .feature_size = 6};

// Weights by name, and the file that holds them.
struct SmallModel {
  explicit SmallModel(const ClassifierConfig& config) {
    for (const TensorSpec& spec : tensor_specs(config)) {
      const auto values = normal_values(base::num_elements(spec.shape), tensors.size(), 0.3F);
      tensors.emplace(spec.name, base::Tensor::from(spec.shape, values));
    }
    metadata["ditmoe.classifier"] = to_json(config).dump();
  }

  std::string write(const TempDir& folder) const {
    formats::NamedTensors named;
    for (const auto& [name, tensor] : tensors) named.emplace_back(name, tensor.view());
    formats::write_safetensors(folder.file("classifier.safetensors"), named, metadata);
    return folder.file("classifier.safetensors");
  }

  std::span<const float> operator[](const std::string& name) const {
    return tensors.at(name).as<float>();
  }

  std::map<std::string, base::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

std::vector<uint8_t> random_images(int64_t count, const ClassifierConfig& config) {
  std::vector<float> uniform(
      static_cast<size_t>(count * config.image_size * config.image_size * config.channels));
  base::fill_uniform(uniform, {.seed = 5});
  std::vector<uint8_t> images(uniform.size());
  std::transform(uniform.begin(), uniform.end(), images.begin(), [](float value) {
    return static_cast<uint8_t>(value * 256.0F);
  });
  return images;
}

// The definition, one sum at a time: convolution, maximum of four, ReLU. map is [size, size,
// inputs] and becomes [size/2, size/2, outputs].
std::vector<double> ref_stage(const std::vector<double>& map,
                              int64_t size,
                              int64_t inputs,
                              std::span<const float> weight,
                              std::span<const float> bias) {
  const auto outputs = static_cast<int64_t>(bias.size());
  const auto convolution = [&](int64_t y, int64_t x, int64_t out) {
    double sum = bias[static_cast<size_t>(out)];
    for (int64_t ky = 0; ky < 3; ++ky) {
      for (int64_t kx = 0; kx < 3; ++kx) {
        const int64_t from_y = y + ky - 1;
        const int64_t from_x = x + kx - 1;
        if (from_y < 0 || from_y >= size || from_x < 0 || from_x >= size) continue;
        for (int64_t in = 0; in < inputs; ++in) {
          sum += map[static_cast<size_t>((from_y * size + from_x) * inputs + in)] *
                 weight[static_cast<size_t>(((out * inputs + in) * 3 + ky) * 3 + kx)];
        }
      }
    }
    return sum;
  };
  std::vector<double> pooled;
  for (int64_t y = 0; y + 1 < size; y += 2) {
    for (int64_t x = 0; x + 1 < size; x += 2) {
      for (int64_t out = 0; out < outputs; ++out) {
        pooled.push_back(std::max({0.0,
                                   convolution(y, x, out),
                                   convolution(y, x + 1, out),
                                   convolution(y + 1, x, out),
                                   convolution(y + 1, x + 1, out)}));
      }
    }
  }
  return pooled;
}

std::vector<double> ref_linear(const std::vector<double>& x,
                               std::span<const float> weight,
                               std::span<const float> bias) {
  std::vector<double> y(bias.begin(), bias.end());
  for (size_t out = 0; out < y.size(); ++out) {
    for (size_t in = 0; in < x.size(); ++in) y[out] += x[in] * weight[out * x.size() + in];
  }
  return y;
}

struct Outputs {
  std::vector<float> logits;
  std::vector<float> features;
};

Outputs ref_forward(const SmallModel& model, std::span<const uint8_t> images, int64_t count) {
  Outputs outputs;
  const size_t pixels = images.size() / static_cast<size_t>(count);
  for (size_t first = 0; first < images.size(); first += pixels) {
    std::vector<double> map;
    for (const uint8_t pixel : images.subspan(first, pixels)) map.push_back(pixel / 127.5 - 1.0);
    map = ref_stage(map, 11, 2, model["conv.0.weight"], model["conv.0.bias"]);
    map = ref_stage(map, 5, 5, model["conv.1.weight"], model["conv.1.bias"]);
    map = ref_linear(map, model["hidden.weight"], model["hidden.bias"]);
    for (double& value : map) value = std::max(value, 0.0);
    const auto logits = ref_linear(map, model["head.weight"], model["head.bias"]);
    outputs.features.insert(outputs.features.end(), map.begin(), map.end());
    outputs.logits.insert(outputs.logits.end(), logits.begin(), logits.end());
  }
  return outputs;
}

Outputs forward(const Classifier& classifier, std::span<const uint8_t> images, int64_t count) {
  Outputs outputs;
  outputs.logits.resize(static_cast<size_t>(count * classifier.config().num_classes));
  outputs.features.resize(static_cast<size_t>(count * classifier.config().feature_size));
  classifier.forward(images, outputs.logits, outputs.features);
  return outputs;
}

void expect_refused(const SmallModel& model, const std::string& fragment) {
  const TempDir folder;
  const std::string path = model.write(folder);
  base::ThreadPool pool(1);
  expect_error([&] { Classifier::open(path, pool); }, base::ErrorKind::kBadInput, fragment);
}

TEST(ClassifierTest, AgreesWithItsDefinition) {
  const TempDir folder;
  const SmallModel model(kSmall);
  base::ThreadPool pool(2);
  const Classifier classifier = Classifier::open(model.write(folder), pool);
  EXPECT_EQ(classifier.config(), kSmall);
  const auto images = random_images(4, kSmall);
  const Outputs expected = ref_forward(model, images, 4);
  const Outputs actual = forward(classifier, images, 4);
  EXPECT_TRUE(close(actual.logits, expected.logits, 1e-5));
  EXPECT_TRUE(close(actual.features, expected.features, 1e-5));
  EXPECT_GT(*std::max_element(expected.features.begin(), expected.features.end()), 0.0F);
}

TEST(ClassifierTest, AnImageDoesNotDependOnTheOthers) {
  const TempDir folder;
  const std::string path = SmallModel(kSmall).write(folder);
  const auto images = random_images(5, kSmall);
  base::ThreadPool one_thread(1);
  base::ThreadPool two_threads(2);
  const Classifier alone = Classifier::open(path, one_thread);
  const Outputs together = forward(Classifier::open(path, two_threads), images, 5);
  std::vector<float> logits;
  for (size_t i = 0; i < 5; ++i) {
    const auto one = forward(alone, std::span(images).subspan(i * images.size() / 5, 242), 1);
    logits.insert(logits.end(), one.logits.begin(), one.logits.end());
  }
  EXPECT_EQ(logits, together.logits);
}

TEST(ClassifierTest, EitherResultCanBeLeftOut) {
  const TempDir folder;
  base::ThreadPool pool(1);
  const Classifier classifier = Classifier::open(SmallModel(kSmall).write(folder), pool);
  const auto images = random_images(2, kSmall);
  const Outputs both = forward(classifier, images, 2);
  Outputs single = {std::vector<float>(6), std::vector<float>(12)};
  classifier.forward(images, single.logits, {});
  classifier.forward(images, {}, single.features);
  EXPECT_EQ(single.logits, both.logits);
  EXPECT_EQ(single.features, both.features);
}

TEST(ClassifierTest, RefusesPartsOfImages) {
  const TempDir folder;
  base::ThreadPool pool(1);
  const Classifier classifier = Classifier::open(SmallModel(kSmall).write(folder), pool);
  const std::vector<uint8_t> images(243);
  expect_error([&] { classifier.forward(images, {}, {}); },
               base::ErrorKind::kBadInput,
               "images of 11x11x2 pixels, found 243 bytes");
}

TEST(ClassifierTest, ReadsClassNames) {
  const TempDir folder;
  SmallModel model(kSmall);
  model.metadata["ditmoe.class_names"] = R"(["Bag", "Coat", "Shirt"])";
  base::ThreadPool pool(1);
  EXPECT_THAT(Classifier::open(model.write(folder), pool).class_names(),
              ::testing::ElementsAre("Bag", "Coat", "Shirt"));
  model.metadata["ditmoe.class_names"] = R"(["Bag", "Coat"])";
  expect_refused(model, "ditmoe.class_names: expected an array of 3 names, found array of 2");
  model.metadata["ditmoe.class_names"] = R"(["Bag", "Coat", 7])";
  expect_refused(model, "ditmoe.class_names: expected names, found number");
}

TEST(ClassifierTest, RefusesFilesOfSomethingElse) {
  SmallModel model(kSmall);
  model.metadata.clear();
  expect_refused(model, "expected a classifier with metadata 'ditmoe.classifier'");
}

TEST(ClassifierTest, RefusesTensorsThatDoNotFit) {
  SmallModel missing(kSmall);
  missing.tensors.erase("conv.1.bias");
  expect_refused(missing, "expected tensor conv.1.bias [7], found none");
  SmallModel misshapen(kSmall);
  misshapen.tensors["head.weight"] = base::Tensor(base::DType::kF32, {3, 5});
  expect_refused(misshapen, "tensor head.weight: expected shape [3, 6], found [3, 5]");
  SmallModel unknown(kSmall);
  unknown.tensors["conv.2.bias"] = base::Tensor(base::DType::kF32, {7});
  expect_refused(unknown, "unknown tensor \"conv.2.bias\"");
}

TEST(ClassifierTest, RefusesImpossibleShapes) {
  const auto refuse = [](const std::string& json, const std::string& fragment) {
    expect_error([&] { classifier_config_from_json(base::parse_json(json, "test"), "test"); },
                 base::ErrorKind::kBadInput,
                 fragment);
  };
  refuse(R"({"image_size": 0})", "image_size: expected 1 to");
  refuse(R"({"channels": 18446744073709551615})", "channels: expected");
  refuse(R"({"conv_widths": []})", "number of conv_widths: expected 1 to 4, found 0");
  refuse(R"({"image_size": 7, "conv_widths": [8, 8, 8]})", "expected 1 to 2, found 3");
  refuse(R"({"conv_widths": 32})", "conv_widths: expected a list");
  refuse(R"({"feature_size": 1.5})", "feature_size: expected a whole number");
  refuse(R"({"depth": 3})", "unknown key \"depth\"");
  refuse("[]", "expected an object");
}

TEST(ClassifierTest, TheShippedOneRecognisesTestImages) {
  const std::string data = "/usr/share/datasets/fashion-mnist/t10k-";
  if (!std::filesystem::exists(data + "images-idx3-ubyte.gz")) {
    GTEST_SKIP() << "the package dataset-fashion-mnist is not installed";
  }
  const base::Tensor images = formats::read_idx(data + "images-idx3-ubyte.gz");
  const base::Tensor labels = formats::read_idx(data + "labels-idx1-ubyte.gz");
  base::ThreadPool pool;
  const Classifier classifier =
      Classifier::open(DITMOE_TEST_DATA "/../../models/fashion-classifier.safetensors", pool);
  constexpr size_t kImages = 2000;
  std::vector<float> logits(kImages * 10);
  classifier.forward(images.as<uint8_t>().first(kImages * 28 * 28), logits, {});
  size_t correct = 0;
  for (size_t i = 0; i < kImages; ++i) {
    const auto begin = logits.begin() + static_cast<int64_t>(i * 10);
    const auto recognised = std::max_element(begin, begin + 10) - begin;
    correct += recognised == labels.as<uint8_t>()[i] ? 1 : 0;
  }
  EXPECT_GE(correct, kImages * 91 / 100);
}

}  // namespace
}  // namespace ditmoe::networks
