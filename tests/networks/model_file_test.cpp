#include "ditmoe/networks/model_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::networks {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

DitConfig small_config() {
  DitConfig config;
  config.image_size = 8;
  config.channels = 3;
  config.width = 16;
  config.depth = 4;
  config.heads = 2;
  config.num_classes = 3;
  config.experts = 4;
  config.shared_experts = 1;
  return config;
}

using Tensors = std::vector<std::pair<std::string, base::Tensor>>;

// Weights of a network with numbers that tell them apart.
Tensors random_weights(const DitConfig& config) {
  Tensors tensors;
  for (const TensorSpec& spec : tensor_specs(config)) {
    base::Tensor tensor(base::DType::kF32, spec.shape);
    base::fill_normal(tensor.as<float>(), {.seed = 1, .index = tensors.size()});
    tensors.emplace_back(spec.name, std::move(tensor));
  }
  return tensors;
}

formats::NamedTensors views_of(const Tensors& tensors) {
  formats::NamedTensors views;
  for (const auto& [name, tensor] : tensors) views.emplace_back(name, tensor.view());
  return views;
}

class ModelFileTest : public ::testing::Test {
 protected:
  ModelFileTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("ditmoe_model_file_") + test->name() + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "model.safetensors";
  }

  ~ModelFileTest() override { std::filesystem::remove_all(folder_); }

  // A file as others write it, its tensors changed as asked.
  void write_foreign(const DitConfig& config, const std::function<void(Tensors&)>& change = {}) {
    Tensors tensors = random_weights(config);
    if (change) change(tensors);
    formats::write_safetensors(path_, views_of(tensors));
  }

  // A small valid file with the given metadata.
  void write_with_metadata(const std::map<std::string, std::string>& metadata) {
    const Tensors tensors = random_weights(small_config());
    formats::write_safetensors(path_, views_of(tensors), metadata);
  }

  // The message of the bad input that opening throws; empty where it opens.
  std::string open_error(const ModelOverrides& overrides = {}) const {
    try {
      ModelFile::open(path_, overrides);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(path_), Not(HasSubstr("\n"))));
      return error.what();
    }
    return {};
  }

  std::filesystem::path folder_;
  std::string path_;
};

std::string small_config_json() { return to_json(small_config()).dump(); }

TEST_F(ModelFileTest, SavedModelComesBackWhole) {
  DitConfig config = small_config();
  config.moe_placement = MoePlacement::kAlternate;
  config.qk_norm = true;
  config.objective = Objective::kRectifiedFlow;
  const Tensors tensors = random_weights(config);
  formats::NamedTensors views = views_of(tensors);
  std::reverse(views.begin(), views.end());
  save_model(path_,
             config,
             views,
             {"shirt", "\"bag\"", "Stiefel\n"},
             {"euler", 20, 2.5, "all"},
             base::DType::kF32);

  const ModelFile model = ModelFile::open(path_);
  EXPECT_EQ(model.path(), path_);
  EXPECT_EQ(model.config(), config);
  EXPECT_THAT(model.class_names(), ElementsAre("shirt", "\"bag\"", "Stiefel\n"));
  EXPECT_EQ(model.sampling().sampler, "euler");
  EXPECT_EQ(model.sampling().steps, 20);
  EXPECT_EQ(model.sampling().cfg, 2.5);
  EXPECT_EQ(model.sampling().cfg_channels, "all");
  EXPECT_EQ(model.dtype(), base::DType::kF32);
  EXPECT_EQ(model.metadata().at("ditmoe.format"), "1");
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(model.name_in_file(name), name);
    EXPECT_EQ(model.weight(name).shape, tensor.shape());
    const auto found = model.weight(name).as<float>();
    EXPECT_TRUE(std::ranges::equal(found, tensor.as<float>())) << name;
  }
}

TEST_F(ModelFileTest, SavedWeightsAreConverted) {
  const Tensors tensors = random_weights(small_config());
  save_model(path_,
             small_config(),
             views_of(tensors),
             {},
             default_sampling(Objective::kDdpm),
             base::DType::kBF16);
  const ModelFile model = ModelFile::open(path_);
  EXPECT_EQ(model.dtype(), base::DType::kBF16);
  EXPECT_THAT(model.class_names(), IsEmpty());
  const auto bf16 = model.weight("pos_embed").as<base::BFloat16>();
  const auto f32 = tensors[0].second.as<float>();
  for (size_t i = 0; i < f32.size(); ++i) {
    ASSERT_EQ(bf16[i].bits, base::to_bfloat16(f32[i]).bits) << i;
  }
}

TEST_F(ModelFileTest, NothingIsSavedThatCouldNotBeOpened) {
  Tensors tensors = random_weights(small_config());
  const SamplingDefaults sampling = default_sampling(Objective::kDdpm);
  const auto save = [&](const std::vector<std::string>& names, const SamplingDefaults& defaults) {
    save_model(path_, small_config(), views_of(tensors), names, defaults, base::DType::kF32);
  };
  EXPECT_THROW(save({"one", "two"}, sampling), base::Error);
  EXPECT_THROW(save({}, {"euler", 20, 1.0, "all"}), base::Error);
  EXPECT_THROW(save({}, {"ddpm", 0, 1.0, "3"}), base::Error);
  tensors.pop_back();
  EXPECT_THROW(save({}, sampling), base::Error);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

struct Inferred {
  const char* name;
  std::function<void(DitConfig&)> change;
};

class InferenceTest : public ModelFileTest, public ::testing::WithParamInterface<Inferred> {};

TEST_P(InferenceTest, ShapesTellTheArchitecture) {
  DitConfig config = small_config();
  GetParam().change(config);
  write_foreign(config);
  ModelOverrides overrides{.heads = config.heads};
  if (!config.learn_sigma) overrides.objective = Objective::kDdpm;
  DitConfig found = ModelFile::open(path_, overrides).config();
  EXPECT_EQ(found, config) << to_json(found).dump() << "\n" << to_json(config).dump();
}

INSTANTIATE_TEST_SUITE_P(
    Networks,
    InferenceTest,
    ::testing::Values(Inferred{"Plain", [](DitConfig&) {}},
                      Inferred{"QkNorm", [](DitConfig& c) { c.qk_norm = true; }},
                      Inferred{"OneExpert", [](DitConfig& c) { c.experts = c.top_k = 1; }},
                      Inferred{"NoShared", [](DitConfig& c) { c.shared_experts = 0; }},
                      Inferred{"FourShared", [](DitConfig& c) { c.shared_experts = 4; }},
                      Inferred{"NarrowExperts", [](DitConfig& c) { c.expert_width = 24; }},
                      Inferred{"Patch4", [](DitConfig& c) { c.patch_size = 4; }},
                      Inferred{"FixedVariance", [](DitConfig& c) { c.learn_sigma = false; }},
                      Inferred{"Alternate",
                               [](DitConfig& c) {
                                 c.moe_placement = MoePlacement::kAlternate;
                                 c.top_k = 3;
                               }},
                      Inferred{"DeepHalf",
                               [](DitConfig& c) {
                                 c.moe_placement = MoePlacement::kDeepHalf;
                                 c.expert_width = 8;
                               }},
                      Inferred{"Gelu",
                               [](DitConfig& c) {
                                 c.feed_forward = FeedForward::kGelu;
                                 c.experts = DitConfig().experts;
                                 c.shared_experts = DitConfig().shared_experts;
                               }},
                      Inferred{"Switch",
                               [](DitConfig& c) {
                                 c.feed_forward = FeedForward::kGelu;
                                 c.experts = DitConfig().experts;
                                 c.shared_experts = DitConfig().shared_experts;
                                 c.time_experts = 5;
                                 c.time_top_k = 2;
                               }},
                      Inferred{"Swiglu",
                               [](DitConfig& c) {
                                 c.feed_forward = FeedForward::kSwiglu;
                                 c.experts = DitConfig().experts;
                                 c.top_k = 1;
                                 c.shared_experts = 0;
                                 c.expert_width = 144;
                               }}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_F(ModelFileTest, ReferenceCheckpointsOpenInBothSpellings) {
  const ModelFile plain =
      ModelFile::open(DITMOE_TEST_DATA "/moe_plain/model.safetensors", {.heads = 4});
  EXPECT_EQ(plain.config().experts, 4);
  EXPECT_EQ(plain.config().num_classes, 10);
  EXPECT_EQ(plain.config().image_size, 8);
  EXPECT_EQ(plain.config().shared_width(), 64);
  EXPECT_TRUE(plain.config().learn_sigma);
  EXPECT_EQ(plain.sampling().sampler, "ddpm");
  EXPECT_EQ(plain.sampling().steps, 250);

  const ModelFile normed = ModelFile::open(DITMOE_TEST_DATA "/moe_qknorm/model.safetensors");
  EXPECT_EQ(normed.config().heads, 2);
  EXPECT_EQ(normed.config().experts, 8);
  EXPECT_EQ(normed.name_in_file("blocks.1.attn.qkv.bias"), "blocks.1.attn.Wqkv.bias");
  EXPECT_EQ(normed.name_in_file("blocks.1.attn.proj.bias"), "blocks.1.attn.out_proj.bias");
  EXPECT_EQ(normed.weight("blocks.1.attn.qkv.weight").shape, (base::Shape{96, 32}));

  const ModelFile dense =
      ModelFile::open(DITMOE_TEST_DATA "/dense_dit/model.safetensors", {.heads = 4});
  EXPECT_EQ(dense.config().feed_forward, FeedForward::kGelu);
}

// A bf16 file of the right size whose data was never written, so that it takes no room on the disk.
void write_header_only(const std::string& path, const DitConfig& config) {
  base::Json header;
  int64_t end = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const int64_t begin = end;
    end += 2 * base::num_elements(spec.shape);
    header[spec.name] = {{"dtype", "BF16"}, {"shape", spec.shape}, {"data_offsets", {begin, end}}};
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length)) << text;
  file.close();
  std::filesystem::resize_file(path, sizeof(length) + length + static_cast<uint64_t>(end));
}

TEST_F(ModelFileTest, PublishedSizesOpenWithoutFlags) {
  for (const std::string& name : preset_names()) {
    write_header_only(path_, preset(name));
    EXPECT_EQ(ModelFile::open(path_).config(), preset(name)) << name;
    EXPECT_EQ(ModelFile::open(path_).dtype(), base::DType::kBF16);
  }
}

TEST_F(ModelFileTest, FlagsAreNamedForWhatCannotBeTold) {
  write_foreign(small_config());
  EXPECT_THAT(open_error(), HasSubstr("--heads"));
  DitConfig config = small_config();
  config.learn_sigma = false;
  write_foreign(config);
  EXPECT_THAT(open_error({.heads = 2}), HasSubstr("--objective"));
}

TEST_F(ModelFileTest, FlagsAgreeWithTheFileOrRetellItsObjective) {
  write_with_metadata({{"ditmoe.config", small_config_json()},
                       {"ditmoe.sampling", R"({"sampler":"ddim","steps":30})"}});
  EXPECT_EQ(ModelFile::open(path_).sampling().sampler, "ddim");
  EXPECT_EQ(ModelFile::open(path_).sampling().steps, 30);
  const DitConfig small = small_config();
  const ModelFile model = ModelFile::open(
      path_, {.heads = small.heads, .top_k = small.top_k, .objective = Objective::kRectifiedFlow});
  EXPECT_EQ(model.config().objective, Objective::kRectifiedFlow);
  EXPECT_EQ(model.sampling().sampler, "euler");
  EXPECT_THAT(open_error({.heads = 1}), HasSubstr("the file says --heads 2, not 1"));
  EXPECT_THAT(open_error({.top_k = 5}), HasSubstr("the file says --top-k"));
}

TEST_F(ModelFileTest, TensorFaultsAreNamed) {
  const ModelOverrides overrides{.heads = 2};
  const auto error = [&](const std::function<void(Tensors&)>& change) {
    write_foreign(small_config(), change);
    return open_error(overrides);
  };
  EXPECT_EQ(error([](Tensors&) {}), "");
  EXPECT_THAT(error([](Tensors& tensors) { tensors.pop_back(); }),
              HasSubstr("expected tensor 'final_layer.adaLN_modulation.1.bias' [32], found none"));
  EXPECT_THAT(error([](Tensors& tensors) { tensors.erase(tensors.begin()); }),
              HasSubstr("expected tensor 'pos_embed'"));
  EXPECT_THAT(error([](Tensors& tensors) {
                tensors.emplace_back("blocks.0.attn.new", base::Tensor(base::DType::kF32, {2}));
              }),
              HasSubstr("tensor \"blocks.0.attn.new\" [2] is none of this network's"));
  EXPECT_THAT(error([](Tensors& tensors) {
                tensors.emplace_back("blocks.0.attn.Wqkv.bias",
                                     base::Tensor(base::DType::kF32, {48}));
              }),
              HasSubstr("are the same weight"));
  EXPECT_THAT(error([](Tensors& tensors) {
                tensors[3].second = base::Tensor(base::DType::kF32, {16, 255});
              }),
              HasSubstr("'t_embedder.mlp.0.weight': expected shape [16, 256], found [16, 255]"));
  EXPECT_THAT(
      error([](Tensors& tensors) { tensors[2].second = base::Tensor(base::DType::kI32, {16}); }),
      HasSubstr("expected F64, F32, F16 or BF16, found I32"));
}

TEST_F(ModelFileTest, ShapesThatMakeNoNetworkAreNamed) {
  const auto error = [&](size_t index, const base::Shape& shape) {
    write_foreign(small_config(), [&](Tensors& tensors) {
      tensors[index].second = base::Tensor(base::DType::kF32, shape);
    });
    return open_error({.heads = 2});
  };
  EXPECT_THAT(error(0, {1, 15, 16}), HasSubstr("expected a square number of tokens"));
  EXPECT_THAT(error(0, {16, 16}), HasSubstr("'pos_embed': expected 3 dimensions, found [16, 16]"));
  EXPECT_THAT(error(0, {1, int64_t{1} << 40, 0}), HasSubstr("'pos_embed': expected"));
  EXPECT_THAT(error(7, {0, 16}), HasSubstr("embedding_table"));
  EXPECT_THAT(error(7, {1, 16}), HasSubstr("num_classes"));
  const size_t final_linear = tensor_specs(small_config()).size() - 4;
  EXPECT_THAT(error(final_linear, {20, 16}),
              HasSubstr("expected 2x2 patches of 3 or 6 channels, found [20, 16]"));
}

TEST_F(ModelFileTest, ExpertsInUnknownBlocksAreNamed) {
  DitConfig config = small_config();
  config.moe_placement = MoePlacement::kAlternate;
  write_foreign(config, [](Tensors& tensors) {
    std::erase_if(tensors,
                  [](const auto& tensor) { return tensor.first.starts_with("blocks.1.moe."); });
  });
  EXPECT_THAT(open_error({.heads = 2}), HasSubstr("found them in 1 of 4 blocks"));
}

TEST_F(ModelFileTest, MetadataFaultsNameTheKey) {
  const std::string config = small_config_json();
  const auto error = [&](const std::string& key, const std::string& value) {
    std::map<std::string, std::string> metadata = {{"ditmoe.config", config}};
    metadata[key] = value;
    write_with_metadata(metadata);
    return open_error();
  };
  EXPECT_EQ(error("author", "somebody"), "");
  EXPECT_THAT(error("ditmoe.format", "2"), HasSubstr("expected version 1, found \"2\""));
  EXPECT_THAT(error("ditmoe.config", "{"), HasSubstr("ditmoe.config: malformed JSON"));
  EXPECT_THAT(error("ditmoe.config", R"({"with": 1})"), HasSubstr("unknown key \"with\""));
  EXPECT_THAT(error("ditmoe.config", R"({"depth": 1000, "experts": 4000})"),
              HasSubstr("expected at least 2000000 tensors"));
  EXPECT_THAT(error("ditmoe.config", R"({"depth": -1})"), HasSubstr("depth must be"));
  EXPECT_THAT(error("ditmoe.class_names", R"(["a", "b"])"), HasSubstr("array of 3 names"));
  EXPECT_THAT(error("ditmoe.class_names", R"(["a", "b", 3])"), HasSubstr("expected names"));
  EXPECT_THAT(error("ditmoe.sampling", "[]"), HasSubstr("ditmoe.sampling: expected an object"));
  EXPECT_THAT(error("ditmoe.sampling", R"({"sampler": "plms"})"), HasSubstr("unknown sampler"));
  EXPECT_THAT(error("ditmoe.sampling", R"({"sampler": "euler"})"), HasSubstr("objective ddpm"));
  EXPECT_THAT(error("ditmoe.sampling", R"({"steps": 1.5})"), HasSubstr("steps: expected"));
  EXPECT_THAT(error("ditmoe.sampling", R"({"cfg": null})"), HasSubstr("cfg: expected a number"));
  EXPECT_THAT(error("ditmoe.sampling", R"({"cfg_channels": 3})"), HasSubstr("cfg_channels"));
  EXPECT_THAT(error("ditmoe.sampling", R"({"eta": 3})"), HasSubstr("unknown key \"eta\""));
}

TEST_F(ModelFileTest, MissingFileIsBadInput) { EXPECT_THAT(open_error(), Not(IsEmpty())); }

}  // namespace
}  // namespace ditmoe::networks
