// `sample --vae`: latents decoded to pictures.

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/vae.h"

#include "program.h"

namespace ditmoe::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

// Latents of 8x8 become 16x16 pixels.
networks::VaeConfig vae_config() {
  return {.channels = 32,
          .widths = {32, 32},
          .num_res_blocks = 1,
          .z_channels = 4,
          .latent_channels = 4,
          .level_attention = {false, false}};
}

void write_random_vae(const std::string& path, const networks::VaeConfig& config) {
  const auto weights = networks::random_vae(config, 5);
  std::vector<base::Tensor> storage;
  formats::NamedTensors tensors;
  for (const networks::TensorSpec& spec : networks::tensor_specs(config)) {
    storage.push_back(weights->read(spec.name));
    tensors.emplace_back(spec.name, storage.back().view());
  }
  formats::write_safetensors(path, tensors);
}

class SampleVaeTest : public testing::Test {
 protected:
  SampleVaeTest() {
    networks::DitConfig config = tiny_config();
    config.channels = 4;
    write_random_model(model_, config);
    write_random_vae(vae_, vae_config());
  }

  Outcome sample(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"sample", model_, "--quiet", "--steps", "2"});
    return run(arguments);
  }

  std::map<std::string, base::Tensor> arrays(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-o", folder_ / "x.npz"});
    const Outcome outcome = sample(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return formats::read_npz(folder_ / "x.npz");
  }

  TemporaryFolder folder_;
  std::string model_ = folder_ / "tiny.safetensors";
  std::string vae_ = folder_ / "vae.safetensors";
};

TEST_F(SampleVaeTest, PixelsAreTheDecodedLatents) {
  const auto latents = arrays({"--dtype", "f32"});
  const auto pictures = arrays({"--dtype", "f32", "--vae", vae_});
  ASSERT_EQ(pictures.at("arr_0").shape(), (base::Shape{3, 16, 16, 3}));

  base::ThreadPool pool(1);
  networks::Vae vae(networks::random_vae(vae_config(), 5), {}, pool);
  std::vector<float> scaled;
  for (const float value : latents.at("latents").as<float>()) {
    scaled.push_back(static_cast<float>(value / 0.18215));
  }
  std::vector<float> images(3 * 3 * 16 * 16);
  vae.decode(scaled, 8, 8, images);
  const auto pixels = pictures.at("arr_0").as<uint8_t>();
  for (int64_t i = 0; i < 3 * 3 * 256; ++i) {
    const int64_t place = (i / 768 * 256 + i % 256) * 3 + i / 256 % 3;  // NHWC
    const float level = std::clamp(127.5F * images[static_cast<size_t>(i)] + 128.0F, 0.0F, 255.0F);
    ASSERT_EQ(pixels[static_cast<size_t>(place)], static_cast<uint8_t>(level)) << i;
  }
  EXPECT_GT(*std::max_element(pixels.begin(), pixels.end()),
            *std::min_element(pixels.begin(), pixels.end()) + 20);
}

TEST_F(SampleVaeTest, PicturesCarryTheNameAndAreRepeatedWithIt) {
  const std::string png = folder_ / "a.png";
  ASSERT_EQ(sample({"--vae", vae_, "--scale", "1", "-o", png}).exit_code, 0);
  const formats::Image picture = formats::read_png(png);
  EXPECT_EQ(picture.width, 2 * 16 + 3 * 2);  // a square sheet with gaps
  std::string text;
  for (const auto& [keyword, value] : picture.text) text += value + "\n";
  EXPECT_THAT(text, HasSubstr(R"("vae":"vae.safetensors")"));
  EXPECT_THAT(text, HasSubstr("Size: 16x16"));

  const std::string again = folder_ / "b.png";
  ASSERT_EQ(sample({"--vae", vae_, "--from-png", png, "-o", again}).exit_code, 0);
  EXPECT_EQ(formats::read_png(again).pixels_HWC, picture.pixels_HWC);

  const Outcome without = sample({"--from-png", png, "-o", folder_ / "c.png"});
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_THAT(without.err, HasSubstr("its images were decoded by vae.safetensors; give --vae"));
}

TEST_F(SampleVaeTest, WhatDoesNotFitIsRefused) {
  const auto refusal = [&](const std::string& vae) {
    const Outcome outcome = sample({"--vae", vae, "-o", folder_ / "x.png"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(refusal(model_), HasSubstr("tiny.safetensors: expected tensor 'encoder.conv_in"));
  EXPECT_THAT(refusal("/nowhere/vae"), HasSubstr("/nowhere/vae"));
  networks::VaeConfig sixteen = vae_config();
  sixteen.latent_channels = 16;
  write_random_vae(vae_, sixteen);
  EXPECT_THAT(refusal(vae_), HasSubstr("expected an autoencoder with latents of 4 channels"));
  EXPECT_THAT(folder_.names(), Not(testing::Contains("x.png")));
}

}  // namespace
}  // namespace ditmoe::apps
