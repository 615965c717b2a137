#include "ditmoe/networks/vae.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/vae_names.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

using formats::test::expect_error;
using formats::test::TempDir;
using kernels::Precision;
using tests::normal_values;

// Two levels of different widths and attention on one of them.
const VaeConfig kSmall = {.channels = 32,
                          .widths = {32, 64},
                          .num_res_blocks = 1,
                          .z_channels = 3,
                          .latent_channels = 5,
                          .level_attention = {false, true}};

using Tensors = std::map<std::string, base::Tensor>;
using Rename = std::function<std::string(const std::string&)>;

Tensors weights_of(const VaeConfig& config) {
  const auto source = random_vae(config, 7);
  Tensors tensors;
  for (const TensorSpec& spec : tensor_specs(config)) {
    tensors.emplace(spec.name, source->read(spec.name));
  }
  return tensors;
}

std::string write(const TempDir& folder,
                  const Tensors& tensors,
                  const Rename& rename,
                  const std::string& file = "vae.safetensors") {
  formats::NamedTensors named;
  for (const auto& [name, tensor] : tensors) named.emplace_back(rename(name), tensor.view());
  formats::write_safetensors(folder.file(file), named);
  return folder.file(file);
}

std::string same(const std::string& name) { return name; }

// The other way round than vae_names.h, by diffusers' own names.
std::string diffusers_name(std::string name, int64_t levels, bool old_attention) {
  const auto replace = [&name](const std::string& from, const std::string& to) {
    if (const size_t at = name.find(from); at != std::string::npos) {
      name.replace(at, from.size(), to);
    }
  };
  for (int64_t level = 0; level < levels; ++level) {
    replace(fmt::format("encoder.down.{}.", level), fmt::format("encoder.down_blocks.{}.", level));
    replace(fmt::format("decoder.up.{}.", level),
            fmt::format("decoder.up_blocks.{}.", levels - 1 - level));
  }
  const bool attention = name.find(".attn") != std::string::npos;
  replace(".block.", ".resnets.");
  replace(".attn.", ".attentions.");
  replace(".mid.block_1.", ".mid_block.resnets.0.");
  replace(".mid.block_2.", ".mid_block.resnets.1.");
  replace(".mid.attn_1.", ".mid_block.attentions.0.");
  replace(".downsample.", ".downsamplers.0.");
  replace(".upsample.", ".upsamplers.0.");
  replace(".nin_shortcut.", ".conv_shortcut.");
  replace("coder.norm_out.", "coder.conv_norm_out.");
  if (attention) {
    replace(".norm.", ".group_norm.");
    replace(".q.", old_attention ? ".query." : ".to_q.");
    replace(".k.", old_attention ? ".key." : ".to_k.");
    replace(".v.", old_attention ? ".value." : ".to_v.");
    replace(".proj_out.", old_attention ? ".proj_attn." : ".to_out.0.");
  }
  return name;
}

struct Results {
  std::vector<float> mean, logvar, decoded;

  bool operator==(const Results&) const = default;
};

// One image of 6x10 pixels encoded and latents of 3x5 decoded, for kSmall's shape.
Results compute(Vae& vae, int64_t images = 1) {
  const VaeConfig& config = vae.config();
  const auto latents = static_cast<size_t>(images * config.latent_channels * 15);
  const auto pixels = static_cast<size_t>(images * config.image_channels * 60);
  Results results = {
      std::vector<float>(latents), std::vector<float>(latents), std::vector<float>(pixels)};
  const std::vector<float> image = normal_values(static_cast<int64_t>(pixels), 1);
  const std::vector<float> latent = normal_values(static_cast<int64_t>(latents), 2);
  vae.encode(image, 6, 10, results.mean, results.logvar);
  vae.decode(latent, 3, 5, results.decoded);
  return results;
}

Results compute(std::shared_ptr<const VaeWeights> weights, const VaeOptions& options = {}) {
  base::ThreadPool pool(2);
  Vae vae(std::move(weights), options, pool);
  return compute(vae);
}

TEST(VaeConfigTest, TheDefaultIsStableDiffusions) {
  const VaeConfig config;
  EXPECT_EQ(config.factor(), 8);
  int64_t parameters = 0;
  for (const TensorSpec& spec : tensor_specs(config)) {
    parameters += base::num_elements(spec.shape);
  }
  EXPECT_EQ(parameters, 83'653'863);
}

TEST(VaeConfigTest, CountsMultiplyAccumulates) {
  VaeConfig config = {.image_channels = 1,
                      .channels = 2,
                      .widths = {2},
                      .num_res_blocks = 1,
                      .z_channels = 1,
                      .latent_channels = 1,
                      .quant_conv = false,
                      .middle_attention = false,
                      .level_attention = {false},
                      .groups = 1};
  // First convolution 1 -> 2, seven blocks of two 2 -> 2 (2 in the middle, 2 of the level), last.
  EXPECT_EQ(decode_macs(config, 1, 1), 9 * (2 + 4 * 2 * 4 + 2));
  EXPECT_EQ(encode_macs(config, 1, 1), 9 * (2 + 3 * 2 * 4 + 2 * 2));
  EXPECT_EQ(decode_macs(config, 3, 5), 15 * decode_macs(config, 1, 1));
  const int64_t plain = decode_macs(config, 3, 5);
  config.middle_attention = true;
  EXPECT_EQ(decode_macs(config, 3, 5) - plain, 15 * 4 * 4 + 2 * 15 * 15 * 2);
}

TEST(VaeConfigTest, RefusesImpossibleShapes) {
  const auto refuse = [](VaeConfig config, const std::string& fragment) {
    expect_error([&] { config.validate("file"); }, base::ErrorKind::kBadInput, fragment);
  };
  VaeConfig config;
  config.widths = {128, 100, 512, 512};
  refuse(config, "file: channels of a level: expected a multiple of 32, found 100");
  config = {};
  config.widths = {};
  config.level_attention = {};
  refuse(config, "levels: expected 1 to 8, found 0");
  config = {};
  config.num_res_blocks = 0;
  refuse(config, "residual blocks of a level: expected 1 to 16, found 0");
  config = {};
  config.z_channels = 1 << 20;
  refuse(config, "z channels");
}

TEST(VaeNamesTest, TranslatesDiffusersNames) {
  // As Stable Diffusion's autoencoder is published by both.
  const std::map<std::string, std::string> pairs = {
      {"encoder.conv_in.weight", "encoder.conv_in.weight"},
      {"encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
       "encoder.down.1.block.0.nin_shortcut.weight"},
      {"encoder.down_blocks.2.downsamplers.0.conv.bias", "encoder.down.2.downsample.conv.bias"},
      {"encoder.mid_block.attentions.0.group_norm.weight", "encoder.mid.attn_1.norm.weight"},
      {"encoder.mid_block.attentions.0.to_out.0.bias", "encoder.mid.attn_1.proj_out.bias"},
      {"encoder.mid_block.resnets.1.norm2.bias", "encoder.mid.block_2.norm2.bias"},
      {"encoder.conv_norm_out.bias", "encoder.norm_out.bias"},
      {"decoder.mid_block.attentions.0.proj_attn.weight", "decoder.mid.attn_1.proj_out.weight"},
      {"decoder.mid_block.attentions.0.query.weight", "decoder.mid.attn_1.q.weight"},
      {"decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.3.block.2.conv1.weight"},
      {"decoder.up_blocks.0.upsamplers.0.conv.weight", "decoder.up.3.upsample.conv.weight"},
      {"decoder.up_blocks.3.resnets.0.conv_shortcut.bias",
       "decoder.up.0.block.0.nin_shortcut.bias"},
      {"post_quant_conv.weight", "post_quant_conv.weight"},
  };
  std::vector<NamedShape> tensors;
  for (const auto& [diffusers, compvis] : pairs) tensors.push_back({diffusers, {1}});
  const ShapeTable table = vae_shape_table(tensors, "file");
  ASSERT_EQ(table.size(), pairs.size());
  for (const auto& [diffusers, compvis] : pairs) {
    ASSERT_TRUE(table.contains(compvis)) << compvis;
    EXPECT_EQ(table.at(compvis).name_in_file, diffusers);
  }
}

TEST(VaeFileTest, EverySpellingGivesTheSameImages) {
  const TempDir folder;
  const Tensors tensors = weights_of(kSmall);
  const Results expected = compute(random_vae(kSmall, 7));
  const auto compvis = open_vae(write(folder, tensors, same));
  EXPECT_EQ(compvis->config(), kSmall);
  EXPECT_DOUBLE_EQ(compvis->scaling_factor(), 0.18215);
  EXPECT_EQ(compute(compvis), expected);

  Tensors whole = weights_of(kSmall);
  const auto prefixed = [](const std::string& name) {
    return name.starts_with("model.") ? name : "first_stage_model." + name;
  };
  whole.emplace("model.diffusion_model.input_blocks.0.0.weight", base::Tensor());
  EXPECT_EQ(compute(open_vae(write(folder, whole, prefixed))), expected);

  Tensors with_loss = weights_of(kSmall);
  with_loss.emplace("loss.discriminator.main.0.weight", base::Tensor());
  EXPECT_EQ(compute(open_vae(write(folder, with_loss, same))), expected);

  // diffusers' newer attention is made of linear layers.
  for (const bool old_attention : {false, true}) {
    Tensors linear = weights_of(kSmall);
    for (auto& [name, tensor] : linear) {
      if (old_attention || name.find(".attn") == std::string::npos) continue;
      if (tensor.shape().size() != 4) continue;
      tensor = base::Tensor::from({tensor.dim(0), tensor.dim(1)}, tensor.as<float>());
    }
    const auto rename = [&](const std::string& name) {
      return diffusers_name(name, 2, old_attention);
    };
    EXPECT_EQ(compute(open_vae(write(folder, linear, rename))), expected) << old_attention;
  }
}

TEST(VaeFileTest, ReadsFoldersOfDiffusers) {
  const TempDir folder;
  const auto rename = [](const std::string& name) { return diffusers_name(name, 2, false); };
  const std::string name = "diffusion_pytorch_model.safetensors";
  write(folder, weights_of(kSmall), rename, name);
  EXPECT_EQ(open_vae(folder.path())->config(), kSmall);
  folder.put("config.json",
             R"({"_class_name": "AutoencoderKL", "norm_num_groups": 16, "scaling_factor": 0.13025,
                 "shift_factor": 0.25, "act_fn": "silu"})");
  for (const std::string& path : {folder.path().string(), folder.file(name)}) {
    const auto vae = open_vae(path);
    EXPECT_EQ(vae->config().groups, 16);
    EXPECT_DOUBLE_EQ(vae->scaling_factor(), 0.13025);
    EXPECT_DOUBLE_EQ(vae->shift(), 0.25);
  }
  const auto refuse = [&](const std::string& json, const std::string& fragment) {
    folder.put("config.json", json);
    expect_error([&] { open_vae(folder.path()); }, base::ErrorKind::kBadInput, fragment);
  };
  refuse(R"({"_class_name": "VQModel"})", "config.json: _class_name: expected AutoencoderKL");
  refuse(R"({"norm_num_groups": 0})", "norm_num_groups: expected a whole number from 1 to 1024");
  refuse(R"({"norm_num_groups": 2.5})", "norm_num_groups: expected a whole number");
  refuse(R"({"norm_num_groups": 5})", "expected a multiple of 5, found 32");
  refuse(R"({"scaling_factor": 0})", "scaling_factor: expected a number above 0");
  refuse(R"({"scaling_factor": "1"})", "scaling_factor: expected a number, found string");
  refuse(R"({"scaling_factor": )", "config.json: malformed JSON at byte");
  refuse("[]", "expected an object, found array");
  const TempDir empty;
  expect_error(
      [&] { open_vae(empty.path()); }, base::ErrorKind::kBadInput, "diffusion_pytorch_model");
  const TempDir pipeline;
  std::filesystem::create_directory(pipeline.file("vae"));
  write(pipeline, weights_of(kSmall), rename, "vae/" + name);
  EXPECT_EQ(open_vae(pipeline.path())->config(), kSmall);
}

TEST(VaeFileTest, FileThatShrinksIsRefused) {
  const TempDir folder;
  const std::string path = write(folder, weights_of(kSmall), same);
  const auto vae = open_vae(path);
  std::filesystem::resize_file(path, 4096);
  expect_error([&] { vae->read("decoder.conv_out.weight"); }, base::ErrorKind::kBadInput, path);
}

TEST(VaeFileTest, OnlyAutoencodersAreFound) {
  const TempDir folder;
  EXPECT_EQ(find_vae(write(folder, weights_of(kSmall), same))->config(), kSmall);
  EXPECT_EQ(find_vae(DITMOE_TEST_DATA "/moe_plain/model.safetensors"), nullptr);
  expect_error([&] { find_vae(folder.file("none")); }, base::ErrorKind::kBadInput, "none");
}

TEST(VaeFileTest, RefusesTensorsThatDoNotFit) {
  const TempDir folder;
  const auto refuse = [&](const std::function<void(Tensors&)>& change,
                          const std::string& fragment) {
    Tensors tensors = weights_of(kSmall);
    change(tensors);
    const std::string path = write(folder, tensors, same);
    expect_error([&] { open_vae(path); }, base::ErrorKind::kBadInput, fragment);
    expect_error([&] { open_vae(path); }, base::ErrorKind::kBadInput, path);
  };
  const auto of = [](base::Shape shape) { return base::Tensor(base::DType::kF32, shape); };
  refuse([](Tensors& t) { t.erase("decoder.up.1.block.1.norm2.bias"); },
         "expected tensor 'decoder.up.1.block.1.norm2.bias' [64], found none");
  refuse([](Tensors& t) { t["quant_conv.bias"] = base::Tensor(base::DType::kI8, {8}); },
         "tensor \"quant_conv.bias\": expected F64, F32, F16 or BF16, found I8");
  refuse([](Tensors& t) { t.erase("encoder.conv_in.weight"); },
         "expected tensor 'encoder.conv_in.weight', as every autoencoder has it, found none");
  refuse(
      [&](Tensors& t) {
        t["encoder.conv_in.weight"] = of({32, 27});
      },
      "tensor 'encoder.conv_in.weight': expected 4 dimensions, found [32, 27]");
  refuse(
      [&](Tensors& t) {
        t["decoder.mid.attn_1.q.weight"] = of({64, 32});
      },
      "tensor 'decoder.mid.attn_1.q.weight': expected shape [64, 64, 1, 1], found [64, 32]");
  refuse(
      [&](Tensors& t) {
        t["encoder.down.0.block.0.conv1.weight"] = of({0, 32, 3, 3});
      },
      "channels of a level: expected 1 to");
  refuse([&](Tensors& t) { t["decoder.up.2.block.0.norm1.weight"] = of({64}); },
         "[64] is none of this autoencoder's");
  refuse([&](Tensors& t) { t["encoder.mid_block.resnets.0.norm1.weight"] = of({64}); },
         "expected one tensor \"encoder.mid.block_1.norm1.weight\", found");
  refuse(
      [&](Tensors& t) {
        for (int level = 2; level < 12; ++level) {
          t[fmt::format("encoder.down.{}.block.0.conv1.weight", level)] = of({32, 32, 3, 3});
        }
      },
      "expected at most 8 levels, found more");
}

TEST(VaeTest, BitsDependNeitherOnBandsNorOnThreadsNorOnTheBatch) {
  const auto weights = random_vae(kSmall, 3);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    base::ThreadPool one(1);
    Vae undivided(weights, {.precision = precision, .band_rows = 1000}, one);
    const Results whole = compute(undivided, 2);
    base::ThreadPool three(3);
    for (const int64_t band_rows : {1, 3}) {
      Vae banded(weights, {.precision = precision, .band_rows = band_rows}, three);
      EXPECT_EQ(compute(banded, 2), whole) << "bands of " << band_rows;
      // The first image is the same alone, and after maps of other sizes.
      const Results alone = compute(banded, 1);
      EXPECT_TRUE(std::equal(alone.mean.begin(), alone.mean.end(), whole.mean.begin()));
      EXPECT_TRUE(std::equal(alone.decoded.begin(), alone.decoded.end(), whole.decoded.begin()));
    }
  }
}

TEST(VaeTest, RefusesImagesThatDoNotDivide) {
  base::ThreadPool pool(1);
  Vae vae(random_vae(kSmall, 3), {}, pool);
  std::vector<float> image(3 * 6 * 9);
  expect_error([&] { vae.encode(image, 6, 9, {}, {}); },
               base::ErrorKind::kBadInput,
               "multiples of 2, found 6x9");
  expect_error([&] { Vae(random_vae(kSmall, 3), {.precision = Precision::kInt8}, pool); },
               base::ErrorKind::kBadInput,
               "not in int8");
}

TEST(VaeTest, TheVarianceIsClamped) {
  Tensors tensors = weights_of(kSmall);
  for (float& value : tensors.at("quant_conv.bias").as<float>()) value = 1e4f;
  tensors.at("quant_conv.bias").as<float>()[9] = -1e4f;
  const TempDir folder;
  const Results results = compute(open_vae(write(folder, tensors, same)));
  EXPECT_EQ(results.logvar.front(), 20.0f);
  EXPECT_EQ(results.logvar.back(), -30.0f);
  EXPECT_GT(results.mean.front(), 5000.0f);
}

TEST(VaeTest, PosteriorSamplesDependOnSeedAndNumberAlone) {
  const std::vector<float> mean = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  const std::vector<float> logvar = {-30.0f, 0.0f, 2.0f, 0.0f, 0.0f, 0.0f};
  std::vector<float> together(6);
  sample_posterior(mean, logvar, 3, 11, 4, together);
  std::vector<float> second(3);
  sample_posterior(std::span(mean).subspan(3), std::span(logvar).subspan(3), 3, 11, 5, second);
  EXPECT_TRUE(std::equal(second.begin(), second.end(), together.begin() + 3));
  std::vector<float> other(6);
  sample_posterior(mean, logvar, 3, 12, 4, other);
  EXPECT_NE(other, together);
  EXPECT_NEAR(together[0], 1.0f, 1e-5f);  // e^-15

  const std::vector<float> means(20000, -1.0f);
  const std::vector<float> logvars(means.size(), std::log(4.0f));
  std::vector<float> samples(means.size());
  sample_posterior(means, logvars, 20000, 1, 0, samples);
  double sum = 0;
  double squares = 0;
  for (const float value : samples) {
    sum += value;
    squares += (value + 1.0) * (value + 1.0);
  }
  EXPECT_NEAR(sum / 20000, -1.0, 0.06);
  EXPECT_NEAR(squares / 20000, 4.0, 0.16);
}

}  // namespace
}  // namespace ditmoe::networks
