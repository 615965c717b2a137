#include "ditmoe/networks/diffusers_dit.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/dit_executor.h"

#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

using ::testing::HasSubstr;

using Tensors = std::map<std::string, base::Tensor>;

// Rows [first, first + count) of a weight.
base::Tensor rows(const base::TensorView& weight, int64_t first, int64_t count) {
  base::Shape shape = weight.shape;
  shape[0] = count;
  base::Tensor part(weight.dtype, shape);
  const size_t offset =
      weight.bytes() / static_cast<size_t>(weight.shape[0]) * static_cast<size_t>(first);
  std::memcpy(part.data(), weight.data + offset, part.bytes());
  return part;
}

base::Tensor whole(const base::TensorView& weight) { return rows(weight, 0, weight.shape[0]); }

// The reference's dense network as diffusers' own script writes it: embeddings in every block,
// queries, keys and values apart, no position embedding.
Tensors diffusers_tensors(const ModelFile& model) {
  Tensors tensors;
  const auto copy = [&](const std::string& to, const std::string& from) {
    for (const char* part : {".weight", ".bias"}) {
      tensors[to + part] = whole(model.weight(from + part));
    }
  };
  copy("pos_embed.proj", "x_embedder.proj");
  copy("proj_out_1", "final_layer.adaLN_modulation.1");
  copy("proj_out_2", "final_layer.linear");
  for (int64_t block = 0; block < model.config().depth; ++block) {
    const std::string to = "transformer_blocks." + std::to_string(block) + ".";
    const std::string from = "blocks." + std::to_string(block) + ".";
    copy(to + "norm1.emb.timestep_embedder.linear_1", "t_embedder.mlp.0");
    copy(to + "norm1.emb.timestep_embedder.linear_2", "t_embedder.mlp.2");
    tensors[to + "norm1.emb.class_embedder.embedding_table.weight"] =
        whole(model.weight("y_embedder.embedding_table.weight"));
    copy(to + "norm1.linear", from + "adaLN_modulation.1");
    copy(to + "attn1.to_out.0", from + "attn.proj");
    copy(to + "ff.net.0.proj", from + "mlp.fc1");
    copy(to + "ff.net.2", from + "mlp.fc2");
    for (const char* part : {".weight", ".bias"}) {
      const base::TensorView qkv = model.weight(from + "attn.qkv" + part);
      const int64_t width = model.config().width;
      tensors[to + "attn1.to_q" + part] = rows(qkv, 0, width);
      tensors[to + "attn1.to_k" + part] = rows(qkv, width, width);
      tensors[to + "attn1.to_v" + part] = rows(qkv, 2 * width, width);
    }
  }
  return tensors;
}

class DiffusersDitTest : public ::testing::Test {
 protected:
  DiffusersDitTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("ditmoe_diffusers_") + test->name() + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_ / "transformer");
    std::ofstream(folder_ / "model_index.json") << R"({"_class_name": "DiTPipeline"})";
    write_config(R"({"num_attention_heads": 4, "sample_size": 8})");
  }

  ~DiffusersDitTest() override { std::filesystem::remove_all(folder_); }

  void write_config(const std::string& json) const {
    std::ofstream(folder_ / "transformer" / "config.json") << json;
  }

  void write(const std::function<void(Tensors&)>& change = {}) const {
    Tensors tensors = diffusers_tensors(model_);
    if (change) change(tensors);
    formats::NamedTensors views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
    formats::write_safetensors(folder_ / "transformer/diffusion_pytorch_model.safetensors", views);
  }

  // The message of the bad input that opening and packing throws.
  std::string error() const {
    try {
      base::ThreadPool pool(1);
      const DitExecutor executor(ModelFile::open(folder_), {}, pool);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr(folder_.string()));
      return error.what();
    }
    return {};
  }

  std::string data_ = std::string(DITMOE_TEST_DATA) + "/dense_dit/";
  ModelFile model_ = ModelFile::open(data_ + "model.pt", {.heads = 4});
  std::filesystem::path folder_;
};

TEST_F(DiffusersDitTest, WeightsAreThoseOfTheOriginal) {
  write();
  for (const char* path : {"", "transformer", "transformer/diffusion_pytorch_model.safetensors"}) {
    const ModelFile found = ModelFile::open(folder_ / path);
    EXPECT_EQ(found.config(), model_.config());
    for (const TensorSpec& spec : tensor_specs(model_.config())) {
      const base::TensorView expected = model_.weight(spec.name);
      const base::TensorView weight = found.weight(spec.name);
      if (spec.name == "pos_embed") {
        EXPECT_TRUE(tests::close(weight.as<float>(), expected.as<float>(), 1e-6));
      } else {
        EXPECT_EQ(std::memcmp(weight.data, expected.data, expected.bytes()), 0) << spec.name;
      }
    }
  }
}

TEST_F(DiffusersDitTest, ForwardAgreesWithTheReference) {
  write();
  const auto arrays = formats::read_npz(data_ + "forward.npz");
  const auto floats = [&arrays](const char* name) {
    const base::Tensor values = base::convert(arrays.at(name).view(), base::DType::kF32);
    return std::vector<float>(values.as<float>().begin(), values.as<float>().end());
  };
  base::ThreadPool pool(2);
  DitExecutor executor(ModelFile::open(folder_), {}, pool);
  const std::vector<float> labels = floats("y");
  std::vector<float> out(floats("out").size());
  executor.predict(
      floats("x"), floats("t"), std::vector<int32_t>(labels.begin(), labels.end()), out);
  EXPECT_TRUE(tests::close(out, floats("out"), 1e-4));
}

TEST_F(DiffusersDitTest, FaultsAreNamed) {
  const auto error_of = [this](const std::function<void(Tensors&)>& change) {
    write(change);
    return error();
  };
  const std::string block = "transformer_blocks.1.";
  EXPECT_EQ(error_of({}), "");
  EXPECT_THAT(error_of([&](Tensors& t) {
                t.at(block + "norm1.emb.timestep_embedder.linear_1.bias").as<float>()[0] += 1;
              }),
              HasSubstr("expected the values of \"transformer_blocks.0.norm1.emb.timestep"));
  EXPECT_THAT(error_of([&](Tensors& t) { t.erase(block + "attn1.to_k.bias"); }),
              HasSubstr("expected a tensor \"transformer_blocks.1.attn1.to_k.bias\""));
  EXPECT_THAT(
      error_of(
          [&](Tensors& t) { t[block + "attn1.to_k.bias"] = base::Tensor(base::DType::kF32, {3}); }),
      HasSubstr("to_k.bias\": expected F32 [64] as \"transformer_blocks.1.attn1.to_q.bias\""));
  EXPECT_THAT(error_of([&](Tensors& t) { t["extra"] = base::Tensor(base::DType::kF32, {3}); }),
              HasSubstr("tensors of a DiTTransformer2DModel of 2 blocks"));
  EXPECT_THAT(error_of([&](Tensors& t) {
                t["pos_embed.proj.weight"] = base::Tensor(base::DType::kF32, {64, 4});
              }),
              HasSubstr("'pos_embed.proj.weight': expected [width, channels, patch, patch]"));
}

TEST_F(DiffusersDitTest, ConfigurationsThatSayNothingAreNamed) {
  write();
  for (const char* json : {"[]",
                           "{}",
                           R"({"num_attention_heads": 4})",
                           R"({"num_attention_heads": -4, "sample_size": 8})",
                           R"({"num_attention_heads": 4, "sample_size": 1e9})",
                           R"({"num_attention_heads": 4, "sample_size": 0})"}) {
    write_config(json);
    EXPECT_THAT(error(), HasSubstr("transformer/config.json: ")) << json;
  }
  const std::pair<const char*, const char*> contradictions[] = {
      {R"("sample_size": 8, "num_attention_heads": 65)", "num_attention_heads: expected a divisor"},
      {R"("sample_size": 8, "num_attention_heads": 5)", "divisor of the width 64, found 5"},
      {R"("sample_size": 1, "num_attention_heads": 4)",
       "sample_size: expected at least one patch of 2, found 1"},
      {R"("sample_size": 8, "num_attention_heads": 4, "attention_head_dim": 32)",
       "attention_head_dim: expected 16, found 32"},
      {R"("sample_size": 8, "num_attention_heads": 4, "patch_size": 4)",
       "patch_size: expected 2, found 4"},
      {R"("sample_size": 8, "num_attention_heads": 4, "in_channels": 3)",
       "in_channels: expected 4, found 3"},
      {R"("sample_size": 8, "num_attention_heads": 4, "activation_fn": "gelu")",
       "activation_fn: expected \"gelu-approximate\", found \"gelu\""},
      {R"("sample_size": 8, "num_attention_heads": 4, "num_embeds_ada_norm": 1000)",
       "num_embeds_ada_norm: expected 10, found 1000"},
      {R"("sample_size": 8, "num_attention_heads": 4, "_class_name": "UNet2DConditionModel")",
       "_class_name: expected \"DiTTransformer2DModel\" or \"Transformer2DModel\", found"},
  };
  for (const auto& [json, message] : contradictions) {
    write_config(std::string("{") + json + "}");
    EXPECT_THAT(error(), HasSubstr(message)) << json;
  }
  write_config(R"({"num_attention_heads": 4, "sample_size": 60000})");
  EXPECT_THAT(error(), HasSubstr("expected a position embedding of at most 67108864 bytes"));
  std::filesystem::remove(folder_ / "transformer" / "config.json");
  EXPECT_THAT(error(), HasSubstr("config.json: cannot be opened"));
}

}  // namespace
}  // namespace ditmoe::networks
