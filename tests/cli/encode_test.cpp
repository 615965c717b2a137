#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/formats/safetensors.h"

#include "program.h"
#include "tests/support/arrays.h"

namespace ditmoe::apps {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kSize = 32;
constexpr int64_t kImages = 6;

// Six images of two classes and the autoencoder of tests/data, which halves sides twice.
class EncodeTest : public testing::Test {
 protected:
  EncodeTest() {
    fs::create_directories(images_ + "/bird");
    fs::create_directories(images_ + "/ant");
    for (int64_t i = 0; i < kImages; ++i) {
      formats::Image image{kSize, kSize, 3, {}, {}};
      std::vector<float> noise(static_cast<size_t>(kSize * kSize * 3));
      base::fill_uniform(noise, {.seed = 1, .index = static_cast<uint64_t>(i)});
      for (const float value : noise) {
        image.pixels_HWC.push_back(static_cast<uint8_t>(value * 256));
      }
      formats::write_png(name(i), image);
    }
  }

  std::string name(int64_t i) const {
    return images_ + (i < 2 ? "/ant/" : "/bird/") + std::to_string(i) + ".png";
  }

  Outcome encode(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {
        "encode", images_, out, "--vae", vae_, "--size", "32", "--quiet", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  static base::Json json_of(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return base::parse_json(outcome.out, "stdout");
  }

  // The means that probe vae finds for the same images, mirrored or not.
  base::Tensor probed(bool mirrored) const {
    base::Tensor image(base::DType::kF32, {kImages, 3, kSize, kSize});
    const auto values = image.as<float>();
    for (int64_t i = 0; i < kImages; ++i) {
      const formats::Image png = formats::read_png(name(i));
      for (int64_t k = 0; k < 3 * kSize * kSize; ++k) {
        const int64_t c = k / (kSize * kSize);
        const int64_t y = k / kSize % kSize;
        const int64_t x = mirrored ? kSize - 1 - k % kSize : k % kSize;
        const uint8_t byte = png.pixels_HWC[static_cast<size_t>((y * kSize + x) * 3 + c)];
        values[static_cast<size_t>(i * 3 * kSize * kSize + k)] = byte / 127.5F - 1;
      }
    }
    const base::Tensor latent(base::DType::kF32, {1, 4, 2, 2});
    formats::write_npz(folder_ / "in.npz", {{"image", image.view()}, {"latent", latent.view()}});
    const Outcome outcome =
        run({"probe", "vae", vae_, "--in", folder_ / "in.npz", "--out", folder_ / "out.npz"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return formats::read_npz(folder_ / "out.npz").at("mean").clone();
  }

  TemporaryFolder folder_;
  std::string images_ = folder_ / "images";
  std::string vae_ = std::string(DITMOE_TEST_DATA) + "/vae_small/model.safetensors";
};

TEST_F(EncodeTest, LatentsAreThoseOfTheAutoencoder) {
  const std::string out = folder_ / "latents";
  const base::Json json = json_of(encode(out, {"--flip", "--store", "f32", "--batch", "4"}));
  EXPECT_EQ(json.at("images"), kImages);
  EXPECT_EQ(json.at("corrupt"), 0);
  EXPECT_EQ(json.at("encoded"), kImages);
  EXPECT_EQ(json.at("shards"), 1);
  const auto file = formats::SafetensorsFile::open(out + "/latents-00000.safetensors");
  EXPECT_EQ(file.entry("mean").shape, base::Shape({kImages, 4, 8, 8}));
  EXPECT_TRUE(tests::close(file.view("mean").as<float>(), probed(false).as<float>(), 1e-5));
  EXPECT_TRUE(tests::close(file.view("mean_flip").as<float>(), probed(true).as<float>(), 1e-5));
  const auto labels = file.view("label").as<int32_t>();
  EXPECT_THAT(std::vector<int32_t>(labels.begin(), labels.end()), ElementsAre(0, 0, 1, 1, 1, 1));
  const base::Json index = base::parse_json(formats::read_text(out + "/index.json"), "index");
  EXPECT_EQ(index.at("complete"), true);
  EXPECT_EQ(index.at("classes"), base::Json({"ant", "bird"}));
  EXPECT_EQ(index.at("settings").at("scale"), 0.18215);
}

TEST_F(EncodeTest, RepeatedRunHasNothingToDoAndOtherSettingsAreRefused) {
  const std::string out = folder_ / "latents";
  json_of(encode(out, {"--sample"}));
  EXPECT_EQ(json_of(encode(out, {"--sample", "--threads", "1", "--batch", "1"})).at("encoded"), 0);
  for (const auto& [more, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--sample", "--seed", "1"}, "was begun with seed 0, not 1"},
           {{"--sample", "--flip"}, "was begun with flip false, not true"},
           {{}, "was begun with moments false, not true"}}) {
    const Outcome outcome = encode(out, more);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
}

TEST_F(EncodeTest, CorruptImagesEndTheRunAboveTheRate) {
  fs::copy_file(name(0), images_ + "/ant/x.png");
  fs::resize_file(images_ + "/ant/x.png", 100);
  const Outcome failed = encode(folder_ / "latents");
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.err, HasSubstr("ant/x.png: byte"));
  EXPECT_THAT(failed.err, HasSubstr("1 of 7 images are corrupt, over the limit of 0.1%"));
  const base::Json json = json_of(encode(folder_ / "latents", {"--max-corrupt", "0.2"}));
  EXPECT_EQ(json.at("images"), kImages);
  EXPECT_EQ(json.at("corrupt"), 1);
}

TEST_F(EncodeTest, NothingWasLeftToDoOnlyWhereNothingWasDone) {
  const auto encode_in_words = [&](const std::string& images, const std::string& out) {
    const Outcome outcome = run(
        {"encode", images, out, "--vae", vae_, "--size", "32", "--max-corrupt", "1", "--quiet"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.out;
  };
  const std::string nothing = "nothing was left to do";
  const std::string out = folder_ / "latents";
  EXPECT_THAT(encode_in_words(images_, out), HasSubstr("6 images in 1 shard, 0 corrupt"));
  EXPECT_THAT(encode_in_words(images_, out), HasSubstr(nothing));
  const std::string corrupt = folder_ / "corrupt";
  fs::create_directory(corrupt);
  formats::write_text(corrupt + "/1.png", "");
  const std::string empty = folder_ / "empty";
  EXPECT_THAT(encode_in_words(corrupt, empty),
              AllOf(HasSubstr("0 images in 1 shard, 1 corrupt"), Not(HasSubstr(nothing))));
  EXPECT_THAT(encode_in_words(corrupt, empty), HasSubstr(nothing));
}

TEST_F(EncodeTest, MissingShardIsToldAndEncodedAgain) {
  const std::string out = folder_ / "latents";
  const std::string shard = out + "/latents-00000.safetensors";
  json_of(encode(out));
  const std::string before = formats::read_text(shard);
  fs::remove(shard);
  const Outcome again = encode(out);
  EXPECT_THAT(again.err, HasSubstr(shard + ": expected a shard, found none"));
  EXPECT_THAT(again.err, HasSubstr("encoded again"));
  EXPECT_EQ(json_of(again).at("encoded"), kImages);
  EXPECT_EQ(formats::read_text(shard), before);
}

TEST_F(EncodeTest, OutInDataIsRefusedBeforeAnythingElse) {
  for (const std::string& out : {images_ + "/latents", images_, images_ + "/ant/latents"}) {
    const Outcome outcome = run({"encode", images_, out, "--vae", folder_ / "absent"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(out + ": expected a folder outside of"));
  }
  EXPECT_FALSE(fs::exists(images_ + "/latents"));
}

TEST_F(EncodeTest, HelpTellsWhatOfTheImagesIsCompared) {
  EXPECT_THAT(run({"encode", "--help"}).out, HasSubstr("sizes in bytes"));
}

TEST_F(EncodeTest, WrongUseIsOneLine) {
  const auto expect_refusal = [](const Outcome& outcome, const std::string& message) {
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  };
  const std::string out = folder_ / "latents";
  expect_refusal(encode(out, {"--sample", "--moments"}), "exclude each other");
  expect_refusal(encode(out, {"--seed", "1"}), "--seed is for --sample");
  expect_refusal(encode(out, {"--max-corrupt", "2"}), "from 0 to 1");
  expect_refusal(encode(out, {"--max-corrupt", "nan"}), "from 0 to 1");
  expect_refusal(encode(out, {"--store", "bf16"}), "expected f16 or f32");
  expect_refusal(encode(out, {"--dtype", "int8"}), "f32 or bf16");
  expect_refusal(encode(out, {"--dtype", "f64"}), "--dtype");
  expect_refusal(run({"encode", images_, out}), "--vae");
  expect_refusal(run({"encode", folder_ / "absent", out, "--vae", vae_}), "absent");
  expect_refusal(run({"encode", images_, out, "--vae", folder_ / "absent"}), "absent");
  expect_refusal(run({"encode", images_, out, "--vae", vae_, "--size", "33"}), "multiples of 4");
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace ditmoe::apps
