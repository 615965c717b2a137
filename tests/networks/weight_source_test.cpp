#include "ditmoe/networks/weight_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/networks/matrix_source.h"

namespace ditmoe::networks {
namespace {

using base::DType;

DitConfig small_config() {
  DitConfig config;
  config.image_size = 8;
  config.channels = 3;
  config.width = 32;
  config.depth = 2;
  config.heads = 4;
  config.num_classes = 5;
  config.experts = 4;
  return config;
}

// Elements [first, first + count) as bytes.
std::vector<std::byte> part(const WeightSource& source,
                            const std::string& name,
                            int64_t first,
                            int64_t count,
                            DType dtype) {
  std::vector<std::byte> bytes(static_cast<size_t>(count) * base::size_of(dtype));
  source.read(name, first, count, dtype, bytes.data());
  return bytes;
}

std::vector<std::byte> bytes_of(const base::Tensor& tensor) {
  const std::byte* data = tensor.view().data;
  return {data, data + tensor.bytes()};
}

int64_t size_of(const WeightSource& source, const std::string& name) {
  return base::num_elements(source.shape(name));
}

// Every part is the part of the whole, in both types.
void expect_parts_of_the_whole(const WeightSource& source, const std::string& name) {
  const int64_t size = size_of(source, name);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const std::vector<std::byte> whole = part(source, name, 0, size, dtype);
    const auto element = static_cast<int64_t>(base::size_of(dtype));
    for (const int64_t first : {int64_t{0}, int64_t{1}, size / 2, size}) {
      for (const int64_t count : {int64_t{0}, (size - first + 1) / 2, size - first}) {
        const std::vector<std::byte> expected(whole.begin() + first * element,
                                              whole.begin() + (first + count) * element);
        EXPECT_EQ(part(source, name, first, count, dtype), expected)
            << name << " from " << first << ", " << count << " of " << size;
      }
    }
  }
}

TEST(RandomWeightsTest, DependOnSeedAndNameAlone) {
  const RandomWeights weights(small_config(), 1);
  const RandomWeights same(small_config(), 1);
  const RandomWeights other(small_config(), 2);
  std::vector<std::byte> before;
  for (const TensorSpec& spec : tensor_specs(small_config())) {
    EXPECT_EQ(weights.shape(spec.name), spec.shape);
    EXPECT_EQ(weights.dtype(spec.name), DType::kF32);
    const std::vector<std::byte> values = bytes_of(weights.floats(spec.name));
    EXPECT_EQ(values, bytes_of(same.floats(spec.name))) << spec.name;
    EXPECT_NE(values, bytes_of(other.floats(spec.name))) << spec.name;
    EXPECT_NE(values, before) << spec.name;
    before = values;
  }
  EXPECT_EQ(weights.config(), small_config());
}

TEST(RandomWeightsTest, PartIsThePartOfTheWhole) {
  const RandomWeights weights(small_config(), 3);
  expect_parts_of_the_whole(weights, "blocks.1.attn.qkv.weight");
  expect_parts_of_the_whole(weights, "blocks.0.attn.proj.bias");
}

TEST(RandomWeightsTest, Bf16IsTheF32Rounded) {
  const RandomWeights weights(small_config(), 3);
  const std::string name = "blocks.0.attn.qkv.weight";
  EXPECT_EQ(part(weights, name, 0, size_of(weights, name), DType::kBF16),
            bytes_of(base::convert(weights.floats(name).view(), DType::kBF16)));
}

TEST(RandomWeightsTest, AreUniformWithTheirDeviation) {
  DitConfig config = small_config();
  config.width = 256;
  config.expert_width = 100;
  const RandomWeights weights(config, 4);
  for (const auto& [name, deviation] :
       {std::pair<std::string, double>{"blocks.0.attn.qkv.weight", 1 / std::sqrt(256.0)},
        {"blocks.0.moe.experts.0.down_proj.weight", 1 / std::sqrt(100.0)},
        {"blocks.0.adaLN_modulation.1.bias", 0.02}}) {
    const base::Tensor tensor = weights.floats(name);
    double sum = 0;
    double squares = 0;
    double largest = 0;
    for (const float value : tensor.as<float>()) {
      sum += value;
      squares += static_cast<double>(value) * value;
      largest = std::max(largest, std::abs(static_cast<double>(value)));
    }
    const auto count = static_cast<double>(tensor.size());
    EXPECT_NEAR(sum / count, 0.0, 4 * deviation / std::sqrt(count)) << name;
    EXPECT_NEAR(std::sqrt(squares / count), deviation, 0.03 * deviation) << name;
    // A uniform number never goes beyond sqrt(3) of its deviation, and comes close to it.
    EXPECT_LE(largest, std::sqrt(3.0) * deviation * 1.000001) << name;
    EXPECT_GE(largest, std::sqrt(3.0) * deviation * 0.99) << name;
  }
}

// The weights of a model on disk for as long as it takes to open it.
struct Written {
  explicit Written(DType dtype) {
    uint64_t index = 0;
    for (const TensorSpec& spec : tensor_specs(small_config())) {
      base::Tensor tensor(DType::kF32, spec.shape);
      base::fill_normal(tensor.as<float>(), {.seed = 1, .index = index++});
      tensors.emplace_back(spec.name, std::move(tensor));
    }
    formats::NamedTensors views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
    const auto path = std::filesystem::temp_directory_path() /
                      ("ditmoe_weights_" + std::to_string(::getpid()) + ".safetensors");
    save_model(path, small_config(), views, {}, default_sampling(Objective::kDdpm), dtype);
    model = ModelFile::open(path);
    std::filesystem::remove(path);
  }

  std::vector<std::pair<std::string, base::Tensor>> tensors;
  std::optional<ModelFile> model;
};

TEST(FileWeightsTest, AreThoseOfTheFileConverted) {
  for (const DType stored : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Written written(stored);
    const FileWeights weights(*written.model);
    for (const auto& [name, tensor] : written.tensors) {
      const base::Tensor in_file = base::convert(tensor.view(), stored);
      EXPECT_EQ(weights.dtype(name), stored == DType::kBF16 ? DType::kBF16 : DType::kF32);
      EXPECT_EQ(weights.shape(name), tensor.shape());
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        EXPECT_EQ(part(weights, name, 0, tensor.size(), dtype),
                  bytes_of(base::convert(in_file.view(), dtype)))
            << name << " from " << base::name_of(stored) << " to " << base::name_of(dtype);
      }
    }
    expect_parts_of_the_whole(weights, "blocks.1.attn.qkv.weight");
    expect_parts_of_the_whole(weights, "blocks.0.attn.proj.bias");
    EXPECT_EQ(weights.config(), small_config());
  }
}

// Weights of which those named up are F32 and the others BF16.
class MixedWeights final : public WeightSource {
 public:
  const DitConfig& config() const override { return random_.config(); }

  DType dtype(const std::string& name) const override {
    return name.find("up_proj") == std::string::npos ? DType::kBF16 : DType::kF32;
  }

  DType stored_dtype(const std::string& name) const override { return dtype(name); }

  const base::Shape& shape(const std::string& name) const override { return random_.shape(name); }

  void read(const std::string& name,
            int64_t first,
            int64_t count,
            DType dtype,
            std::byte* dst) const override {
    random_.read(name, first, count, dtype, dst);
  }

 private:
  RandomWeights random_{small_config(), 1};
};

TEST(MatrixRowsTest, WeightsOfDifferentTypesKeepTheirValues) {
  const MixedWeights weights;
  const MatrixGroup gate_up = expert_groups(small_config(), 0, 0, kernels::Precision::kF32).front();
  ASSERT_EQ(gate_up.weights.size(), 2U);
  const base::Tensor rows = matrix_rows(weights, gate_up, 0);
  ASSERT_EQ(rows.dtype(), DType::kF32);
  const int64_t count = gate_up.rows(0) * gate_up.inputs;
  for (size_t i = 0; i < 2; ++i) {
    const std::vector<std::byte> expected =
        part(weights, gate_up.weight_name(i), 0, count, DType::kF32);
    EXPECT_EQ(std::memcmp(rows.view().data + i * expected.size(), expected.data(), expected.size()),
              0);
  }
}

}  // namespace
}  // namespace ditmoe::networks
