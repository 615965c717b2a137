#include "ditmoe/pipeline/judge.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::pipeline {
namespace {

using testing::HasSubstr;

class ReferenceImagesTest : public testing::Test {
 protected:
  ReferenceImagesTest()
      : folder_(testing::TempDir() + "ditmoe_reference_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }

  ~ReferenceImagesTest() override { std::filesystem::remove_all(folder_); }

  // IDX: 00 00 08 rank, big-endian dimensions, bytes. Image i is filled with i.
  void write_images(int count) {
    std::string bytes = {0, 0, 8, 3, 0, 0, 0, static_cast<char>(count), 0, 0, 0, 2, 0, 0, 0, 2};
    for (int i = 0; i < count; ++i) bytes += std::string(4, static_cast<char>(i));
    formats::write_text(folder_ + "/t10k-images-idx3-ubyte", bytes);
  }

  void write_labels(const std::vector<char>& labels) {
    std::string bytes = {0, 0, 8, 1, 0, 0, 0, static_cast<char>(labels.size())};
    bytes.append(labels.begin(), labels.end());
    formats::write_text(folder_ + "/t10k-labels-idx1-ubyte", bytes);
  }

  std::string message_of(int64_t count, int64_t num_classes) {
    try {
      read_reference_images(folder_, count, num_classes);
    } catch (const base::Error& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string folder_;
};

std::vector<int> first_pixels(const ReferenceImages& reference) {
  std::vector<int> values;
  const auto pixels = reference.images_NHWC.as<uint8_t>();
  for (size_t i = 0; i < pixels.size(); i += 4) values.push_back(pixels[i]);
  return values;
}

TEST_F(ReferenceImagesTest, TakesAsManyOfEachClass) {
  write_images(6);
  write_labels({1, 1, 1, 0, 1, 0});
  const ReferenceImages reference = read_reference_images(folder_, 4, 2);
  EXPECT_EQ(reference.images_NHWC.shape(), (base::Shape{4, 2, 2, 1}));
  EXPECT_THAT(first_pixels(reference), testing::ElementsAre(0, 1, 3, 5));
  EXPECT_EQ(reference.selection, "the first 2 of each of 2 classes");
  EXPECT_EQ(reference.files.size(), 2U);
}

TEST_F(ReferenceImagesTest, TakesTheFirstWithoutLabels) {
  write_images(6);
  const ReferenceImages reference = read_reference_images(folder_, 4, 2);
  EXPECT_THAT(first_pixels(reference), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(reference.selection, "the first 4");
}

TEST_F(ReferenceImagesTest, TooFewImagesAreRefused) {
  EXPECT_THAT(message_of(4, 2), HasSubstr("expected t10k-images-idx3-ubyte"));
  write_images(3);
  EXPECT_THAT(message_of(4, 2), HasSubstr("expected at least 4 images, found 3"));
  write_labels({0, 0, 0});
  EXPECT_THAT(message_of(2, 2), HasSubstr("expected at least 1 images of each of 2 classes"));
  write_labels({0, 0});
  EXPECT_THAT(message_of(2, 2), HasSubstr("expected one label for each of 3 images"));
}

}  // namespace
}  // namespace ditmoe::pipeline
