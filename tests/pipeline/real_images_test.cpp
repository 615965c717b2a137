#include "ditmoe/pipeline/real_images.h"

#include <gmock/gmock.h>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

#include "tests/formats/temp_dir.h"
#include "tests/support/classifier.h"

namespace ditmoe::pipeline {
namespace {

using formats::test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;

class RealImagesTest : public testing::Test {
 protected:
  // Image i is filled with i.
  void write_images(int64_t count, const std::string& part = "t10k") {
    std::string pixels;
    for (int64_t i = 0; i < count; ++i) pixels += std::string(4, static_cast<char>(i));
    tests::write_idx(folder_.file(part + "-images-idx3-ubyte"), {count, 2, 2}, pixels);
  }

  void write_labels(const std::string& labels) {
    tests::write_idx(
        folder_.file("t10k-labels-idx1-ubyte"), {static_cast<int64_t>(labels.size())}, labels);
  }

  RealImages read(int64_t num_classes = 2) const {
    return read_real_images(folder_.path().string(), "t10k", num_classes);
  }

  template <typename Call>
  static std::string message_of(const Call& call) {
    try {
      call();
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      return error.what();
    }
    return "accepted";
  }

  TempDir folder_;
};

std::vector<int> first_pixels(const base::Tensor& images_NHWC) {
  std::vector<int> values;
  const auto pixels = images_NHWC.as<uint8_t>();
  for (size_t i = 0; i < pixels.size(); i += 4) values.push_back(pixels[i]);
  return values;
}

TEST_F(RealImagesTest, AsManyOfEachClass) {
  write_images(6);
  write_labels({1, 1, 1, 0, 1, 0});
  const RealImages real = read();
  EXPECT_EQ(real.images_NHWC.shape(), (base::Shape{6, 2, 2, 1}));
  EXPECT_THAT(real.labels, ElementsAre(1, 1, 1, 0, 1, 0));
  EXPECT_EQ(real.files.size(), 2U);
  const Selection selection = select_images(real, 4, 2);
  EXPECT_THAT(selection.rows, ElementsAre(0, 1, 3, 5));
  EXPECT_EQ(selection.words, "the first 2 of each of 2 classes");
  const base::Tensor images_NHWC = gather_images(real, selection.rows);
  EXPECT_EQ(images_NHWC.shape(), (base::Shape{4, 2, 2, 1}));
  EXPECT_THAT(first_pixels(images_NHWC), ElementsAre(0, 1, 3, 5));
  EXPECT_THAT(select_images(real, 3, 2).rows, ElementsAre(0, 1, 2));
}

TEST_F(RealImagesTest, TheFirstWithoutLabels) {
  write_images(6);
  const RealImages real = read();
  EXPECT_TRUE(real.labels.empty());
  const Selection selection = select_images(real, 4, 2);
  EXPECT_THAT(selection.rows, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(selection.words, "the first 4");
}

TEST_F(RealImagesTest, AFileOrTheOtherPartOfAFolder) {
  write_images(3);
  write_images(5, "train");
  const std::string folder = folder_.path().string();
  EXPECT_EQ(read_real_images(folder, "train", 2).images_NHWC.dim(0), 5);
  EXPECT_EQ(read_real_images(folder + "/train-images-idx3-ubyte", "t10k", 2).images_NHWC.dim(0), 5);
}

TEST_F(RealImagesTest, AsManyAsAreDrawnComparedBest) {
  write_images(200);
  const auto count_for = [&](int64_t drawn, int64_t num_classes = 3) {
    return comparable_count(read(num_classes), drawn, num_classes);
  };
  EXPECT_EQ(count_for(10), 200);  // at least 1000 were wanted, at most what there is
  std::string labels;
  for (int i = 0; i < 200; ++i) labels += static_cast<char>(i % 4 == 0 ? 2 : i % 2);
  write_labels(labels);
  EXPECT_EQ(count_for(10), 150);     // 50 have label 0 and 2, 100 label 1
  EXPECT_EQ(count_for(10, 4), 200);  // of a class there is none
}

TEST_F(RealImagesTest, FromAThousandUpwards) {
  RealImages real;
  real.images_NHWC = base::Tensor(base::DType::kU8, {6000, 1, 1, 1});
  for (int i = 0; i < 6000; ++i) real.labels.push_back(i % 3);
  EXPECT_EQ(comparable_count(real, 4, 3), 999);
  EXPECT_EQ(comparable_count(real, 1001, 3), 999);
  EXPECT_EQ(comparable_count(real, 5000, 3), 4998);
  EXPECT_EQ(comparable_count(real, 50'000, 3), 6000);
}

TEST_F(RealImagesTest, WhatDoesNotFitIsRefused) {
  EXPECT_THAT(message_of([&] { read(); }), HasSubstr("expected t10k-images-idx3-ubyte"));
  write_images(3);
  EXPECT_THAT(message_of([&] { select_images(read(), 4, 2); }),
              HasSubstr("expected at least 4 images, found 3"));
  write_labels({0, 0, 0});
  EXPECT_THAT(message_of([&] { select_images(read(), 2, 2); }),
              HasSubstr("expected at least 1 images of each of 2 classes"));
  write_labels({0, 0});
  EXPECT_THAT(message_of([&] { read(); }), HasSubstr("expected one label for each of 3 images"));
  write_labels({0, 1, 2});
  EXPECT_THAT(message_of([&] { read(); }),
              HasSubstr("label 2: expected a number from 0 to 1, found 2"));
}

}  // namespace
}  // namespace ditmoe::pipeline
