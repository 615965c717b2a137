#include "ditmoe/data/centre_crop.h"

#include <gtest/gtest.h>

#include "ditmoe/data/resample.h"

namespace ditmoe::data {
namespace {

formats::Image grey(int64_t width, int64_t height, std::vector<uint8_t> pixels) {
  return {width, height, 1, std::move(pixels), {}};
}

TEST(ResampleTest, BoxOfTwoIsTheRoundedMean) {
  const formats::Image image = grey(4, 2, {0, 1, 10, 20, 0, 0, 30, 40});
  // Rows first, each rounded: (0 + 1) / 2 -> 1 (halves go up), then with the row below.
  EXPECT_EQ(resize(image, 2, 1, Filter::kBox, {0, 0, 2, 1}).pixels_HWC,
            (std::vector<uint8_t>{1, 25}));
}

TEST(ResampleTest, SameSizeCopiesAndCuts) {
  const formats::Image image = grey(3, 2, {1, 2, 3, 4, 5, 6});
  const formats::Image part = resize(image, 3, 2, Filter::kBicubic, {1, 0, 2, 2});
  EXPECT_EQ(part.pixels_HWC, (std::vector<uint8_t>{2, 3, 5, 6}));
  EXPECT_EQ(part.width, 2);
  EXPECT_EQ(part.height, 2);
}

TEST(ResampleTest, BicubicOvershootIsClipped) {
  const formats::Image image = grey(4, 1, {0, 0, 255, 255});
  const formats::Image wide = resize(image, 16, 1, Filter::kBicubic, {0, 0, 16, 1});
  EXPECT_EQ(wide.pixels_HWC.front(), 0);
  EXPECT_EQ(wide.pixels_HWC.back(), 255);
  EXPECT_EQ(wide.pixels_HWC[5], 0);     // below zero before clipping
  EXPECT_EQ(wide.pixels_HWC[10], 255);  // above 255
  for (size_t i = 1; i < 16; ++i) EXPECT_GE(wide.pixels_HWC[i], wide.pixels_HWC[i - 1]);
}

TEST(ResampleTest, WindowIsThatPartOfTheWhole) {
  formats::Image image{37, 29, 3, {}, {}};
  for (int i = 0; i < 37 * 29 * 3; ++i) image.pixels_HWC.push_back(static_cast<uint8_t>(i * i / 7));
  const formats::Image whole = resize(image, 50, 20, Filter::kBicubic, {0, 0, 50, 20});
  const formats::Image part = resize(image, 50, 20, Filter::kBicubic, {11, 5, 9, 7});
  for (int64_t y = 0; y < 7; ++y) {
    for (int64_t i = 0; i < 9 * 3; ++i) {
      EXPECT_EQ(part.pixels_HWC[static_cast<size_t>(y * 27 + i)],
                whole.pixels_HWC[static_cast<size_t>((y + 5) * 150 + 33 + i)]);
    }
  }
}

TEST(CentreCropTest, SquareOfTheSizeStays) {
  const formats::Image image = grey(2, 2, {1, 2, 3, 4});
  EXPECT_EQ(centre_crop(image, 2).pixels_HWC, image.pixels_HWC);
}

TEST(CentreCropTest, LongSideIsCutOnBothSides) {
  // 5 wide: (5 - 2) / 2 = 1 column goes on the left, 2 on the right.
  const formats::Image image = grey(5, 2, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(centre_crop(image, 2).pixels_HWC, (std::vector<uint8_t>{1, 2, 6, 7}));
}

TEST(CentreCropTest, ThinPictureNeedsNoMoreMemoryThanItsSquare) {
  // Resized whole it would have 256 x 25,600,000 pixels.
  const formats::Image image = grey(100000, 1, std::vector<uint8_t>(100000, 77));
  const formats::Image crop = centre_crop(image, 256);
  EXPECT_EQ(crop.pixels_HWC, std::vector<uint8_t>(256 * 256, 77));
}

}  // namespace
}  // namespace ditmoe::data
