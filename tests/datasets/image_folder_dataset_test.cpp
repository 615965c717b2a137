#include "ditmoe/data/image_folder_dataset.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/data/centre_crop.h"
#include "ditmoe/data/pixels.h"
#include "ditmoe/formats/image.h"

#include "image_files.h"

namespace ditmoe::data {
namespace {

using base::ErrorKind;
using formats::test::expect_error;

class ImageFolderDatasetTest : public ::testing::Test {
 protected:
  std::unique_ptr<ImageFolderDataset> open() const {
    return ImageFolderDataset::open(dir_.path().string(), 6, 3);
  }

  void put(int count) const {
    for (int i = 0; i < count; ++i) {
      test::put_png(dir_, fmt::format("{:05}.png", i), 7, static_cast<uint8_t>(i));
    }
  }

  void spoil(int first, int last) const {
    for (int i = first; i < last; ++i) dir_.put(fmt::format("{:05}.png", i), "GIF89a");
  }

  formats::test::TempDir dir_;
  std::vector<float> out_ = std::vector<float>(3 * 6 * 6);
};

TEST_F(ImageFolderDatasetTest, ImagesAreCroppedAndMirrored) {
  put(3);
  const auto dataset = open();
  const formats::Image image = centre_crop(formats::read_image(dir_.file("00002.png")), 6);
  std::vector<float> expected(out_.size());
  scale_pixels(image.pixels_HWC, 3, 3, expected);
  dataset->read(2, out_);
  EXPECT_EQ(out_, expected);
  EXPECT_TRUE(dataset->try_read(2, {}, out_));
  EXPECT_EQ(out_, expected);
  EXPECT_TRUE(dataset->try_read(2, {.mirrored = true}, out_));
  mirror_rows(expected, 6);
  EXPECT_EQ(out_, expected);
}

TEST_F(ImageFolderDatasetTest, CorruptImagesAreCountedOnceAndNotReadAgain) {
  put(8);
  spoil(2, 4);
  const auto dataset = open();
  EXPECT_EQ(dataset->num_corrupt(), 0);
  for (int again = 0; again < 3; ++again) {
    for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(dataset->try_read(i, {}, out_), i != 2 && i != 3);
  }
  EXPECT_EQ(dataset->num_corrupt(), 2);
  put(8);  // mended, but a run goes on as it began
  EXPECT_FALSE(dataset->try_read(2, {}, out_));
  EXPECT_TRUE(open()->try_read(2, {}, out_));
}

TEST_F(ImageFolderDatasetTest, ReadingACorruptImageIsAnError) {
  put(2);
  spoil(0, 1);
  expect_error(
      [&] { open()->read(0, out_); }, ErrorKind::kBadInput, "found a GIF", dir_.file("00000.png"));
}

TEST_F(ImageFolderDatasetTest, TenCorruptImagesOfFewAreTooMany) {
  put(20);
  spoil(5, 15);
  const auto dataset = open();
  for (int64_t i = 5; i < 14; ++i) EXPECT_FALSE(dataset->try_read(i, {}, out_));
  expect_error([&] { dataset->try_read(14, {}, out_); },
               ErrorKind::kFailure,
               "10 of 20 images are corrupt so far, over the limit of 0.1%; the last: " +
                   dir_.file("00014.png"));
}

TEST_F(ImageFolderDatasetTest, OneInAThousandMayBeCorrupt) {
  // 120 times the same folder of 100 images that are not there.
  std::filesystem::create_directories(dir_.file("images"));
  for (int i = 0; i < 100; ++i) {
    std::filesystem::create_symlink("absent", dir_.file(fmt::format("images/{}.png", i)));
  }
  std::filesystem::create_directories(dir_.file("all"));
  for (int i = 0; i < 120; ++i) {
    std::filesystem::create_symlink(dir_.file("images"), dir_.file(fmt::format("all/{}", i)));
  }
  const auto dataset = ImageFolderDataset::open(dir_.file("all"), 6, 3);
  for (int64_t i = 0; i < 12; ++i) EXPECT_FALSE(dataset->try_read(i, {}, out_));
  expect_error([&] { dataset->try_read(12, {}, out_); }, ErrorKind::kFailure, "13 of 12000");
  const auto fewer =
      ImageFolderDataset::open(dir_.file("all"), 6, 3, 11'000);  // of those that are used
  EXPECT_EQ(fewer->size(), 11'000);
  for (int64_t i = 0; i < 11; ++i) EXPECT_FALSE(fewer->try_read(i, {}, out_));
  expect_error([&] { fewer->try_read(11, {}, out_); }, ErrorKind::kFailure, "12 of 11000");
}

}  // namespace
}  // namespace ditmoe::data
