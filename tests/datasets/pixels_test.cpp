#include "ditmoe/data/pixels.h"

#include <gmock/gmock.h>
#include <vector>

#include <gtest/gtest.h>

namespace ditmoe::data {
namespace {

using ::testing::ElementsAre;
using ::testing::Pointwise;

// As 8-bit values again, which are exact.
std::vector<int> scaled(const std::vector<uint8_t>& pixels_HWC, int64_t channels, int64_t wanted) {
  std::vector<float> out(pixels_HWC.size() / static_cast<size_t>(channels * 1) *
                         static_cast<size_t>(wanted));
  scale_pixels(pixels_HWC, channels, wanted, out);
  std::vector<int> values;
  for (const float value : out) {
    EXPECT_GE(value, -1.0F);
    EXPECT_LE(value, 1.0F);
    values.push_back(static_cast<int>((value + 1.0F) * 127.5F + 0.5F));
  }
  return values;
}

TEST(PixelsTest, ChannelsBecomePlanes) {
  EXPECT_THAT(scaled({0, 127, 255, 1}, 1, 1), ElementsAre(0, 127, 255, 1));
  EXPECT_THAT(scaled({1, 2, 3, 4, 5, 6}, 3, 3), ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST(PixelsTest, GreyIsRepeatedForColours) {
  EXPECT_THAT(scaled({9, 200}, 1, 3), ElementsAre(9, 200, 9, 200, 9, 200));
}

TEST(PixelsTest, ColoursTurnGreyAsInPillow) {
  EXPECT_THAT(scaled({255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 200, 77, 255, 255, 255, 1, 2, 3}, 3, 1),
              ElementsAre(76, 150, 29, 129, 255, 2));
}

TEST(PixelsTest, RowsAreMirrored) {
  std::vector<float> image = {1, 2, 3, 4, 5, 6};
  mirror_rows(image, 3);
  EXPECT_THAT(image, ElementsAre(3, 2, 1, 6, 5, 4));
  mirror_rows(image, 1);
  EXPECT_THAT(image, ElementsAre(3, 2, 1, 6, 5, 4));
}

}  // namespace
}  // namespace ditmoe::data
