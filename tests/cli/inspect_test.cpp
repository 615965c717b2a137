#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"

#include "program.h"

namespace ditmoe::apps {
namespace {

using testing::HasSubstr;

base::Json last_line_json(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  const size_t start = text.rfind('\n', end);
  return base::parse_json(text.substr(start == std::string::npos ? 0 : start + 1), "stdout");
}

TEST(InspectTest, LargestPresetHasTheCountsOfThePaper) {
  const Outcome outcome = run({"inspect", "--preset", "G/2-16E2A"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("16,503,717,152 total, 3,181,559,072 activated"));
  EXPECT_THAT(outcome.out, HasSubstr("698.3 GMAC"));
}

TEST(InspectTest, PresetAsJson) {
  const Outcome outcome = run({"inspect", "--preset", "S/2-8E2A", "--json"});
  EXPECT_EQ(outcome.exit_code, 0);
  const base::Json json = last_line_json(outcome.out);
  EXPECT_EQ(json.at("total_parameters"), 199307552);
  EXPECT_EQ(json.at("activated_parameters"), 71905568);
  EXPECT_EQ(json.at("weight_bytes").at("bf16"), 2 * 199307552);
  EXPECT_EQ(json.at("config").at("experts"), 8);
}

TEST(InspectTest, TableListsAllPresets) {
  const Outcome outcome = run({"inspect", "--table"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* words : {"S/2-8E2A", "369,213,728", "286,253,600", "222.48", "XL/2-8E2A"}) {
    EXPECT_THAT(outcome.out, HasSubstr(words));
  }
  EXPECT_EQ(last_line_json(run({"inspect", "--table", "--json"}).out).at("presets").size() >= 6,
            true);
}

TEST(InspectTest, UnknownPresetIsRefused) {
  const Outcome outcome = run({"inspect", "--preset", "S/3-8E2A"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("S/3-8E2A"));
}

TEST(InspectTest, FileTellsConfigurationTensorsAndMetadata) {
  const TemporaryFolder folder;
  write_random_model(folder / "tiny.safetensors", tiny_config());
  const Outcome outcome = run({"inspect", folder / "tiny.safetensors", "--tensors"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* words : {"4 routed of width 128, top 2",
                            "1 channels of 8x8, patch 2: 16 tokens",
                            "ddim, 5 steps",
                            "T-shirt/top, Trouser, Bag",
                            "blocks.1.moe.experts.3.up_proj.weight",
                            "[128, 32]"}) {
    EXPECT_THAT(outcome.out, HasSubstr(words));
  }
  const base::Json json =
      last_line_json(run({"inspect", folder / "tiny.safetensors", "--json"}).out);
  EXPECT_EQ(json.at("dtype"), "F32");
  EXPECT_EQ(json.at("sampling").at("steps"), 5);
  EXPECT_EQ(json.at("tensors").size(), networks::tensor_specs(tiny_config()).size());
}

TEST(InspectTest, ForeignFileIsToldFromItsShapes) {
  const std::string file = DITMOE_TEST_DATA "/moe_plain/model.safetensors";
  const Outcome outcome = run({"inspect", file, "--heads", "4"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("4 routed"));
}

const std::string kClassifier = DITMOE_TEST_DATA "/../../models/fashion-classifier.safetensors";
const std::string kVae = DITMOE_TEST_DATA "/vae_small/model.safetensors";

TEST(InspectTest, ClassifierIsCalledByItsName) {
  const Outcome outcome = run({"inspect", kClassifier});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("classifier; 1 channel of 28x28 pixels"));
  EXPECT_THAT(outcome.out, HasSubstr("T-shirt/top, Trouser"));
  const base::Json json = last_line_json(run({"inspect", kClassifier, "--json"}).out);
  EXPECT_EQ(json.at("network"), "classifier");
  EXPECT_EQ(json.at("config").at("num_classes"), 10);
  const Outcome elsewhere = run({"sample", kClassifier, "-o", "/nowhere.png"});
  EXPECT_EQ(elsewhere.exit_code, 2);
  EXPECT_THAT(elsewhere.err, HasSubstr("found a classifier"));
}

TEST(InspectTest, AutoencoderShowsItsShapeAndItsCost) {
  const Outcome outcome = run({"inspect", kVae, "--tensors"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* words : {"autoencoder with a KL posterior; 3 channels",
                            "scaled by 0.18215, shifted by 0",
                            "in the middle",
                            "GMAC to decode",
                            "decoder.mid.attn_1.proj_out.weight"}) {
    EXPECT_THAT(outcome.out, HasSubstr(words));
  }
  const base::Json json = last_line_json(run({"inspect", kVae, "--json"}).out);
  EXPECT_EQ(json.at("network"), "autoencoder");
  int64_t bytes = 0;
  for (const base::Json& tensor : json.at("tensors")) bytes += tensor.at("bytes").get<int64_t>();
  EXPECT_EQ(json.at("total_parameters").get<int64_t>() * 4, bytes);
}

TEST(InspectTest, OptionsOfTransformersAreRefusedForOtherNetworks) {
  for (const std::string& file : {kClassifier, kVae}) {
    const Outcome outcome = run({"inspect", file, "--heads", "4"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("--heads"));
    EXPECT_THAT(outcome.err, HasSubstr("found a"));
  }
}

}  // namespace
}  // namespace ditmoe::apps
