#include "ditmoe/networks/model_writer.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <limits>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::networks {
namespace {

using base::DType;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kNoTorch = 77;  // exit code of check_converted.py

std::string data(const std::string& name) { return std::string(DITMOE_TEST_DATA) + "/" + name; }

class ModelWriterTest : public ::testing::Test {
 protected:
  ModelWriterTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("ditmoe_writer_") + test->name() + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }

  ~ModelWriterTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::vector<std::string> names(const std::string& folder = "") const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / folder)) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  std::string text(const std::string& name) const { return formats::read_text(path(name)); }

  // What Python finds different between a file that PyTorch wrote and one of ours; "" for nothing.
  void expect_python_agrees(const std::string& original, const std::string& written) const {
    const std::string command = fmt::format("/usr/bin/python3 -B {}/check_converted.py {} {} >{}",
                                            DITMOE_TEST_ORACLE,
                                            original,
                                            path(written),
                                            path("log"));
    const int status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == kNoTorch) GTEST_SKIP() << "python3-torch is not installed";
    EXPECT_EQ(WEXITSTATUS(status), 0) << text("log");
    std::filesystem::remove(folder_ / "log");
  }

  std::filesystem::path folder_;
};

Metadata metadata_of(const ModelFile& model) {
  std::vector<std::string> names(static_cast<size_t>(model.config().num_classes), "a class");
  names[1] = "one";
  return write_metadata(model.config(), names, model.sampling());
}

// Every weight of `found` is that of `original` in this type, or in its own.
void expect_weights(const ModelFile& found,
                    const ModelFile& original,
                    std::optional<DType> dtype = {}) {
  EXPECT_EQ(found.config(), original.config());
  for (const TensorSpec& spec : tensor_specs(original.config())) {
    const base::TensorView weight = original.weight(spec.name);
    const base::Tensor expected = base::convert(weight, dtype.value_or(weight.dtype));
    const base::TensorView view = found.weight(spec.name);
    ASSERT_EQ(view.dtype, expected.dtype()) << spec.name;
    ASSERT_EQ(view.shape, expected.shape()) << spec.name;
    EXPECT_EQ(std::memcmp(view.data, expected.view().data, expected.bytes()), 0) << spec.name;
  }
}

struct Original {
  const char* file;
  int64_t heads;
};

constexpr std::array<Original, 7> kOriginals = {{{"moe_plain/train.pt", 4},
                                                 {"moe_plain/bare_f16.pt", 4},
                                                 {"moe_plain/model.safetensors", 4},
                                                 {"moe_qknorm/model.pt", 2},
                                                 {"moe_qknorm/bare_bf16.pt", 2},
                                                 {"dense_dit/model.pt", 4},
                                                 {"dense_dit/model.safetensors", 4}}};

ModelFile open(const Original& original) {
  return ModelFile::open(data(original.file), {.heads = original.heads});
}

TEST_F(ModelWriterTest, EveryCheckpointComesBackBitByBit) {
  for (const Original& original : kOriginals) {
    SCOPED_TRACE(original.file);
    const ModelFile model = open(original);
    write_model(path("a.safetensors"), FileWeights(model), metadata_of(model));
    const ModelFile file = ModelFile::open(path("a.safetensors"));
    expect_weights(file, model);
    EXPECT_EQ(file.class_names().at(1), "one");
    EXPECT_EQ(file.sampling().sampler, model.sampling().sampler);
    // Through a folder of shards in the other spelling and back: the same file.
    write_model(path("b"),
                FileWeights(file),
                metadata_of(model),
                {.names = AttentionNames::kWqkv, .shard_bytes = 250'000});
    const ModelFile shards = ModelFile::open(path("b"));
    EXPECT_EQ(shards.file()->format(), formats::FileFormat::kShardedSafetensors);
    expect_weights(shards, model);
    EXPECT_TRUE(shards.file()->contains("blocks.1.attn.Wqkv.weight"));
    EXPECT_TRUE(shards.file()->contains("blocks.1.attn.out_proj.bias"));
    write_model(path("c.safetensors"), FileWeights(shards), metadata_of(model));
    EXPECT_TRUE(text("c.safetensors") == text("a.safetensors"));
    std::filesystem::remove_all(folder_ / "b");
  }
}

TEST_F(ModelWriterTest, TypesAreThoseAskedFor) {
  const ModelFile model = open(kOriginals[0]);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    write_model(path("m.safetensors"), FileWeights(model), metadata_of(model), {.dtype = dtype});
    const ModelFile found = ModelFile::open(path("m.safetensors"));
    EXPECT_EQ(found.dtype(), dtype);
    expect_weights(found, model, dtype);
  }
}

// Random weights, but for one value.
class OneValue final : public WeightSource {
 public:
  OneValue(const DitConfig& config, std::string name, int64_t element, double value)
      : weights_(config, 1), name_(std::move(name)), element_(element), value_(value) {}

  const DitConfig& config() const override { return weights_.config(); }

  DType dtype(const std::string& /*name*/) const override { return DType::kF32; }

  DType stored_dtype(const std::string& /*name*/) const override { return DType::kF64; }

  const base::Shape& shape(const std::string& name) const override { return weights_.shape(name); }

  void read(const std::string& name,
            int64_t first,
            int64_t count,
            DType dtype,
            std::byte* dst) const override {
    base::Tensor values(DType::kF64, {count});
    weights_.read(name, first, count, DType::kF64, values.data());
    if (name == name_ && first <= element_ && element_ < first + count) {
      values.as<double>()[static_cast<size_t>(element_ - first)] = value_;
    }
    base::convert_into(values.view(), dtype, dst);
  }

 private:
  RandomWeights weights_;
  std::string name_;
  int64_t element_;
  double value_;
};

TEST_F(ModelWriterTest, ValuesThatATypeCannotHoldAreRefused) {
  const DitConfig config = open(kOriginals[5]).config();
  const std::string name = "blocks.0.attn.qkv.weight";
  const int64_t last = 3 * config.width * config.width - 1;
  const auto error = [&](DType dtype, double value) -> std::string {
    const OneValue weights(config, name, last, value);
    try {
      write_model(path("m.safetensors"), weights, {}, {.dtype = dtype});
    } catch (const base::Error& thrown) {
      EXPECT_EQ(thrown.kind(), base::ErrorKind::kBadInput);
      EXPECT_THAT(names(), ElementsAre());
      return thrown.what();
    }
    std::filesystem::remove(folder_ / "m.safetensors");
    return "";
  };
  EXPECT_THAT(error(DType::kF16, -70000),
              HasSubstr("m.safetensors: tensor 'blocks.0.attn.qkv.weight': expected values of at "
                        "most 65504, the largest of F16, found -70000"));
  EXPECT_THAT(error(DType::kF16, 65520), HasSubstr("found 65520"));
  EXPECT_EQ(error(DType::kF16, 65519), "");  // rounds to 65504
  EXPECT_THAT(error(DType::kBF16, 3.4e38), HasSubstr("the largest of BF16, found 3.4e+38"));
  EXPECT_EQ(error(DType::kBF16, 70000), "");
  EXPECT_THAT(error(DType::kF32, 1e39), HasSubstr("the largest of F32, found 1e+39"));
  EXPECT_EQ(error(DType::kF64, 1e39), "");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {  // as the source has it
    EXPECT_EQ(error(dtype, kInfinity), "");
    EXPECT_EQ(error(dtype, -kInfinity), "");
    EXPECT_EQ(error(dtype, std::numeric_limits<double>::quiet_NaN()), "");
  }
}

TEST_F(ModelWriterTest, PythonReadsWhatIsWritten) {
  for (const Original& original : kOriginals) {
    if (std::string(original.file).ends_with(".safetensors")) continue;
    SCOPED_TRACE(original.file);
    const ModelFile model = open(original);
    write_model(path("m.safetensors"), FileWeights(model), metadata_of(model));
    expect_python_agrees(data(original.file), "m.safetensors");
    write_model(path("m"), FileWeights(model), metadata_of(model), {.shard_bytes = 200'000});
    expect_python_agrees(data(original.file), "m");
    std::filesystem::remove_all(folder_ / "m");
  }
}

TEST_F(ModelWriterTest, ShardsAreAsLargeAsAllowed) {
  const ModelFile model = open(kOriginals[5]);
  constexpr uint64_t kShard = 120'000;
  write_model(path("m"), FileWeights(model), metadata_of(model), {.shard_bytes = kShard});
  const base::Json index =
      base::parse_json(text("m/model.safetensors.index.json"), "model.safetensors.index.json");
  uint64_t total = 0;
  size_t tensors = 0;
  const std::vector<std::string> files = names("m");
  const size_t shards = files.size() - 1;
  ASSERT_GT(shards, 3U);
  for (size_t i = 0; i < shards; ++i) {
    EXPECT_EQ(files[i], fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards));
    const auto shard = formats::SafetensorsFile::open(path("m/" + files[i]));
    uint64_t bytes = 0;
    for (const formats::TensorEntry& entry : shard.entries()) {
      bytes += entry.bytes;
      EXPECT_EQ(index.at("weight_map").at(entry.name), files[i]);
    }
    EXPECT_TRUE(bytes <= kShard || shard.entries().size() == 1) << bytes;
    total += bytes;
    tensors += shard.entries().size();
  }
  EXPECT_EQ(index.at("metadata").at("total_size"), total);
  EXPECT_EQ(index.at("weight_map").size(), tensors);
  EXPECT_EQ(tensors, tensor_specs(model.config()).size());
  write_model(path("one"), FileWeights(model), metadata_of(model));
  EXPECT_THAT(names("one"), ElementsAre("model.safetensors"));
}

TEST_F(ModelWriterTest, FoldersAppearWholeOrNotAtAll) {
  const std::vector<formats::TensorEntry> entries = {{"a", DType::kF32, {2}, 0, 0},
                                                     {"b", DType::kF32, {3}, 0, 0}};
  const std::vector<std::byte> bytes(12);
  {
    formats::SafetensorsFolderWriter writer(path("m"), "model", entries, {}, 8);
    writer.write(std::span(bytes).first(8));
    writer.write(std::span(bytes).first(4));
  }
  EXPECT_THAT(names(), ElementsAre());
  std::filesystem::create_directories(folder_ / "m" / "kept");
  formats::SafetensorsFolderWriter writer(path("m/"), "model", entries, {}, 8);
  writer.write(std::span(bytes).first(8));
  writer.write(std::span(bytes));
  EXPECT_THROW(writer.commit(), base::Error);  // somebody else was faster
  EXPECT_THAT(names(), ElementsAre("m"));
  EXPECT_THAT(names("m"), ElementsAre("kept"));
  EXPECT_THROW(formats::expect_new_folder(path("m/")), base::Error);
  EXPECT_THROW(formats::expect_new_folder(path("none/m")), base::Error);
  formats::expect_new_folder(path("n/"));
}

TEST_F(ModelWriterTest, LeftoversDoNotPreventAFolder) {
  // What a killed process with the number of this one may have left.
  std::filesystem::create_directories(path(fmt::format("m.tmp.{}", ::getpid())));
  std::filesystem::create_directories(path(fmt::format("m.tmp.{}.0", ::getpid())));
  const std::vector<formats::TensorEntry> entries = {{"a", DType::kF32, {2}, 0, 0}};
  formats::SafetensorsFolderWriter writer(path("m"), "model", entries, {});
  writer.write(std::vector<std::byte>(8));
  writer.commit();
  EXPECT_THAT(names("m"), ElementsAre("model.safetensors"));
  EXPECT_EQ(names().size(), 3U);
}

TEST_F(ModelWriterTest, DiffusersFoldersComeBackBitByBit) {
  const ModelFile original = open(kOriginals[5]);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(base::name_of(dtype));
    write_model(
        path("a.safetensors"), FileWeights(original), metadata_of(original), {.dtype = dtype});
    const ModelFile model = ModelFile::open(path("a.safetensors"));
    write_diffusers_dit(path("d"), FileWeights(model), metadata_of(model), "a");
    EXPECT_THAT(names("d"), ElementsAre("config.json", "diffusion_pytorch_model.safetensors"));
    const ModelFile diffusers = ModelFile::open(path("d"));
    expect_weights(diffusers, original, dtype);
    EXPECT_EQ(diffusers.class_names(), model.class_names());
    write_model(path("b.safetensors"), FileWeights(diffusers), metadata_of(model));
    EXPECT_TRUE(text("b.safetensors") == text("a.safetensors"));
    write_diffusers_dit(path("e"), FileWeights(diffusers), metadata_of(model), "d");
    for (const std::string file : {"config.json", "diffusion_pytorch_model.safetensors"}) {
      EXPECT_TRUE(text("d/" + file) == text("e/" + file)) << file;
    }
    if (dtype == DType::kF32) expect_python_agrees(data("dense_dit/model.pt"), "d");
    std::filesystem::remove_all(folder_ / "d");
    std::filesystem::remove_all(folder_ / "e");
  }
}

TEST_F(ModelWriterTest, LargeDiffusersModelsAreSharded) {
  const ModelFile model = open(kOriginals[5]);
  write_diffusers_dit(
      path("d"), FileWeights(model), metadata_of(model), "a", {.shard_bytes = 300'000});
  EXPECT_THAT(names("d"), testing::Contains("diffusion_pytorch_model.safetensors.index.json"));
  expect_weights(ModelFile::open(path("d")), model);
  expect_python_agrees(data("dense_dit/model.pt"), "d");
}

TEST_F(ModelWriterTest, WhatDiffusersCannotHoldIsRefused) {
  const auto error = [&](const WeightSource& weights) -> std::string {
    try {
      write_diffusers_dit(path("d"), weights, {}, "source");
    } catch (const base::Error& thrown) {
      EXPECT_EQ(thrown.kind(), base::ErrorKind::kBadInput);
      return thrown.what();
    }
    return "";
  };
  EXPECT_THAT(error(FileWeights(open(kOriginals[0]))), HasSubstr("source: expected a DiT with a"));
  DitConfig config = open(kOriginals[5]).config();
  config.qk_norm = true;
  EXPECT_THAT(error(RandomWeights(config, 1)), HasSubstr("normalised queries"));
  config.qk_norm = false;  // whose position embedding is random
  EXPECT_THAT(error(RandomWeights(config, 1)), HasSubstr("'pos_embed': expected the sine-cosine"));
  EXPECT_THAT(names(), ElementsAre());
}

}  // namespace
}  // namespace ditmoe::networks
