#include <filesystem>
#include <gmock/gmock.h>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/networks/classifier.h"

#include "program.h"
#include "tests/support/classifier.h"

namespace ditmoe::apps {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kTestImages = 60;
constexpr int64_t kTrainingImages = 90;

// A random model and classifier of 8x8 images in three classes, and noise for real images.
class EvaluateTest : public testing::Test {
 protected:
  EvaluateTest() {
    write_random_model(model_, tiny_config());
    tests::write_random_classifier(classifier_,
                                   {.image_size = 8,
                                    .channels = 1,
                                    .num_classes = 3,
                                    .conv_widths = {4, 5},
                                    .feature_size = 6});
    write_real_images("t10k", kTestImages, 1);
    write_real_images("train", kTrainingImages, 2);
  }

  void write_real_images(const std::string& part, int64_t count, uint64_t seed) {
    std::string labels;
    for (int64_t i = 0; i < count; ++i) labels += static_cast<char>(i % 3);
    tests::write_idx(folder_ / (part + "-images-idx3-ubyte"),
                     {count, 8, 8},
                     tests::noise_bytes(count * 64, seed));
    tests::write_idx(folder_ / (part + "-labels-idx1-ubyte"), {count}, labels);
  }

  Outcome evaluate(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {
        "evaluate", model_, "--classifier", classifier_, "--quiet", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }

  // The last line; `results` and `floor` without the time they took.
  static base::Json json_of(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const size_t end_of_table = outcome.out.rfind('\n', outcome.out.size() - 2);
    base::Json json = base::parse_json(outcome.out.substr(end_of_table + 1), "stdout");
    for (base::Json& result : json["results"]) result.erase("seconds");
    if (json.contains("floor")) json["floor"].erase("seconds");
    return json;
  }

  void expect_refusal(const std::vector<std::string>& more, const std::string& message) const {
    const Outcome outcome = evaluate(more);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }

  TemporaryFolder folder_;
  std::string model_ = folder_ / "model.safetensors";
  std::string classifier_ = folder_ / "classifier.safetensors";
};

TEST_F(EvaluateTest, JudgesWithAndWithoutGuidance) {
  const Outcome outcome = evaluate({"--real", folder_.path(), "--count", "30"});
  for (const char* text : {"guidance 2    guidance 1\n",
                           "recognised",
                           "precision",
                           "recall",
                           "Frechet distance",
                           "3 neighbours",
                           "the first 20 of each of 3 classes",
                           "for the Frechet distance all 60\n",
                           "T-shirt/top"}) {
    EXPECT_THAT(outcome.out, HasSubstr(text));
  }
  EXPECT_THAT(outcome.out, Not(HasSubstr("training set")));
  const base::Json json = json_of(outcome);
  EXPECT_EQ(json["real"]["count"], 60);
  EXPECT_EQ(json["real"]["frechet_count"], 60);
  EXPECT_FALSE(json.contains("floor"));
  ASSERT_EQ(json["results"].size(), 2U);
  EXPECT_EQ(json["results"][0]["cfg"], 2.0);
  EXPECT_EQ(json["results"][1]["cfg"], 1.0);
  for (const base::Json& result : json["results"]) {
    EXPECT_GT(result["frechet_distance"].get<double>(), 0.0);
    EXPECT_GE(result["precision"].get<double>(), 0.0);
    EXPECT_LE(result["recognised"].get<double>(), 1.0);
  }
}

TEST_F(EvaluateTest, TheFloorIsOfAsManyTrainingImages) {
  const Outcome outcome =
      evaluate({"--real", folder_.path(), "--count", "30", "--cfg", "1", "--floor"});
  EXPECT_THAT(outcome.out, HasSubstr("guidance 1  training set\n"));
  EXPECT_THAT(outcome.out, HasSubstr("training set: the first 10 of each of 3 classes of "));
  const base::Json json = json_of(outcome);
  ASSERT_EQ(json["results"].size(), 1U);
  const base::Json& floor = json["floor"];
  EXPECT_EQ(floor["count"], 30);
  EXPECT_EQ(floor["files"].size(), 2U);
  EXPECT_EQ(floor["per_class"][2]["images"], 10);
  // Noise is closer to other noise than what the network draws.
  EXPECT_LT(floor["frechet_distance"], json["results"][0]["frechet_distance"]);
}

TEST_F(EvaluateTest, TheFloorOfTheSameImagesIsZero) {
  write_real_images("train", kTestImages, 1);
  const base::Json json =
      json_of(evaluate({"--real", folder_.path(), "--count", "60", "--cfg", "1", "--floor"}));
  EXPECT_NEAR(json["floor"]["frechet_distance"].get<double>(), 0.0, 1e-9);
  EXPECT_EQ(json["floor"]["precision"], 1.0);
  EXPECT_EQ(json["floor"]["recall"], 1.0);
}

TEST_F(EvaluateTest, WithoutLabelsNothingIsRecognised) {
  fs::remove(folder_ / "train-labels-idx1-ubyte");
  fs::remove(folder_ / "t10k-labels-idx1-ubyte");
  // A file of images stands for the folder it is in.
  const std::string real = folder_ / "t10k-images-idx3-ubyte";
  const base::Json json =
      json_of(evaluate({"--real", real, "--count", "30", "--cfg", "1", "--floor"}));
  EXPECT_EQ(json["real"]["selection"], "the first 60");
  EXPECT_EQ(json["floor"]["selection"], "the first 30");
  EXPECT_FALSE(json["floor"].contains("recognised"));
  EXPECT_TRUE(json["results"][0].contains("recognised"));
}

TEST_F(EvaluateTest, PartsAndBatchesDoNotChangeTheFigures) {
  const std::vector<std::string> arguments = {
      "--real", folder_.path(), "--count", "1050", "--cfg", "1", "--steps", "2"};
  const base::Json expected = json_of(evaluate(arguments));  // 1024 images are drawn, then 26
  for (const char* batch : {"100", "1050"}) {
    std::vector<std::string> other = arguments;
    other.insert(other.end(), {"--batch", batch});
    EXPECT_EQ(json_of(evaluate(other))["results"], expected["results"]) << batch;
  }
}

TEST_F(EvaluateTest, GuidanceWithinAnInterval) {
  const std::vector<std::string> arguments = {"--real", folder_.path(), "--count", "12"};
  std::vector<std::string> within = arguments;
  within.insert(within.end(), {"--cfg-interval", "0.1,0.8"});
  const Outcome outcome = evaluate(within);
  EXPECT_THAT(outcome.out, HasSubstr("guidance at noise levels 0.1,0.8 alone"));
  const base::Json json = json_of(outcome);
  EXPECT_EQ(json["cfg_interval"], (base::Json{0.1, 0.8}));
  const base::Json everywhere = json_of(evaluate(arguments));
  EXPECT_NE(json["results"][0], everywhere["results"][0]);
  EXPECT_EQ(json["results"][1], everywhere["results"][1]);
}

TEST_F(EvaluateTest, WhatCannotBeComparedIsRefused) {
  const std::string real = folder_.path();
  expect_refusal({"--real", real, "--count", "3"}, "need more images");
  expect_refusal({"--real", real, "--count", "300", "--floor"}, "at least 100 images of each");
  expect_refusal({"--real", real, "--real-count", "63"}, "at least 21 images of each");
  expect_refusal({"--real", folder_ / "train-images-idx3-ubyte", "--count", "30", "--floor"},
                 "--floor: ");
  fs::remove(folder_ / "train-images-idx3-ubyte");
  expect_refusal({"--real", real, "--count", "30", "--floor"}, "train-images-idx3-ubyte");
}

}  // namespace
}  // namespace ditmoe::apps
