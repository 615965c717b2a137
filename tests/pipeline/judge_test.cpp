#include "ditmoe/pipeline/judge.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/classifier.h"

namespace ditmoe::pipeline {
namespace {

using formats::test::TempDir;
using testing::HasSubstr;

constexpr int64_t kSize = 8;
constexpr int64_t kFeatures = 6;
constexpr int64_t kNeighbours = 3;

const networks::ClassifierConfig kSmall = {.image_size = kSize,
                                           .channels = 1,
                                           .num_classes = 3,
                                           .conv_widths = {4, 5},
                                           .feature_size = kFeatures};

base::Tensor noise_images(int64_t count, uint64_t seed, int64_t size = kSize) {
  base::Tensor images_NHWC(base::DType::kU8, {count, size, size, 1});
  std::ranges::copy(tests::noise_bytes(images_NHWC.size(), seed),
                    images_NHWC.as<uint8_t>().begin());
  return images_NHWC;
}

// Labels 0, 1, 2, 0, ...
std::vector<int32_t> labels_in_turn(size_t count) {
  std::vector<int32_t> labels(count);
  for (size_t i = 0; i < count; ++i) labels[i] = static_cast<int32_t>(i % 3);
  return labels;
}

Selection first(int64_t count) {
  Selection selection;
  selection.rows.resize(static_cast<size_t>(count));
  std::iota(selection.rows.begin(), selection.rows.end(), 0);
  return selection;
}

class JudgeTest : public testing::Test {
 protected:
  JudgeTest() {
    const std::string path = folder_.file("classifier.safetensors");
    tests::write_random_classifier(path, kSmall);
    classifier_ = networks::Classifier::open(path, pool_);
    real_.images_NHWC = noise_images(60, 1);
    real_.files = {"real"};
  }

  Judge judge_of(int64_t compared, int64_t k = kNeighbours) {
    return {*classifier_, real_, first(compared), k, pool_};
  }

  std::string message_of(int64_t compared) {
    try {
      judge_of(compared);
    } catch (const base::Error& error) {
      return error.what();
    }
    return "accepted";
  }

  metrics::FeatureMoments moments(const base::Tensor& images_NHWC) {
    const int64_t count = images_NHWC.dim(0);
    std::vector<float> features(static_cast<size_t>(count * kFeatures));
    classifier_->forward(images_NHWC.as<uint8_t>(), {}, features);
    metrics::FeatureStatistics statistics(kFeatures);
    statistics.add({features, count, kFeatures});
    return statistics.finish();
  }

  TempDir folder_;
  base::ThreadPool pool_{2};
  std::optional<networks::Classifier> classifier_;
  RealImages real_;
};

TEST_F(JudgeTest, RealImagesAreAsGoodAsThemselves) {
  const Judge judge = judge_of(60);
  Observations seen;
  judge.observe(real_.images_NHWC, labels_in_turn(60), seen);
  const Judgement judgement = judge.judge(seen);
  EXPECT_EQ(judgement.manifold.precision, 1.0);
  EXPECT_EQ(judgement.manifold.recall, 1.0);
  EXPECT_NEAR(judgement.frechet_distance, 0.0, 1e-9);
  EXPECT_EQ(judgement.classification.total(), 60);
}

TEST_F(JudgeTest, TheFrechetDistanceIsToAllRealImages) {
  const base::Tensor drawn = noise_images(50, 2);
  const double expected = metrics::frechet_distance(moments(drawn), moments(real_.images_NHWC));
  EXPECT_GT(expected, 0.0);
  for (const int64_t compared : {20, 60}) {
    const Judge judge = judge_of(compared);
    Observations seen;
    judge.observe(drawn, labels_in_turn(50), seen);
    EXPECT_NEAR(judge.judge(seen).frechet_distance, expected, 1e-9 * expected);
  }
}

TEST_F(JudgeTest, PrecisionAndRecallAreOfTheComparedOnes) {
  // The first 20 real images, drawn again: all of those are covered, and not all of the others.
  Observations seen;
  judge_of(20).observe(gather_images(real_, first(20).rows), labels_in_turn(20), seen);
  EXPECT_EQ(judge_of(20).judge(seen).manifold.recall, 1.0);
  EXPECT_LT(judge_of(60).judge(seen).manifold.recall, 1.0);
}

TEST_F(JudgeTest, BatchesDoNotMatter) {
  const Judge judge = judge_of(60);
  RealImages drawn;
  drawn.images_NHWC = noise_images(50, 3);
  const std::vector<int32_t> labels = labels_in_turn(50);
  Observations whole;
  judge.observe(drawn.images_NHWC, labels, whole);
  Observations parts;
  const std::vector<int64_t> rows = first(50).rows;
  judge.observe(
      gather_images(drawn, {rows.begin(), rows.begin() + 13}), std::span(labels).first(13), parts);
  judge.observe(
      gather_images(drawn, {rows.begin() + 13, rows.end()}), std::span(labels).subspan(13), parts);
  EXPECT_EQ(parts.features, whole.features);
  EXPECT_EQ(parts.classification.confusion, whole.classification.confusion);
}

TEST_F(JudgeTest, ImagesWithoutLabels) {
  const Judge judge = judge_of(60);
  Observations seen;
  judge.observe(noise_images(10, 4), {}, seen);
  const Judgement judgement = judge.judge(seen);
  EXPECT_EQ(judgement.classification.num_classes, 3);
  EXPECT_EQ(judgement.classification.total(), 0);
  EXPECT_GT(judgement.frechet_distance, 0.0);
}

TEST_F(JudgeTest, WhatDoesNotFitIsRefused) {
  EXPECT_THAT(message_of(3), HasSubstr("need more than 3 real images"));
  real_.images_NHWC = noise_images(60, 1, 7);
  EXPECT_THAT(message_of(60), HasSubstr("real: the classifier expects images [60, 8, 8, 1]"));
}

}  // namespace
}  // namespace ditmoe::pipeline
