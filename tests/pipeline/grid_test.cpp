#include "ditmoe/pipeline/grid.h"

#include <algorithm>
#include <gmock/gmock.h>

#include <gtest/gtest.h>

#include "ditmoe/pipeline/bitmap_font.h"

namespace ditmoe::pipeline {
namespace {

using testing::ElementsAre;

// Images of size x size, image i filled with 10 + i.
base::Tensor flat_images(int64_t count, int64_t size, int64_t channels) {
  base::Tensor images(base::DType::kU8, {count, size, size, channels});
  const auto pixels = images.as<uint8_t>();
  for (size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<uint8_t>(10 + i / (size * size * channels));
  }
  return images;
}

uint8_t pixel(const formats::Image& image, int64_t x, int64_t y) {
  return image.pixels_HWC[(y * image.width + x) * image.channels];
}

TEST(GridTest, ImagesStandRowByRowWithGaps) {
  const formats::Image grid = make_grid(flat_images(5, 2, 1), {.columns = 3, .gap = 1});
  EXPECT_EQ(grid.width, 1 + 3 * 3);
  EXPECT_EQ(grid.height, 1 + 2 * 3);
  EXPECT_EQ(pixel(grid, 0, 0), 255);
  EXPECT_EQ(pixel(grid, 1, 1), 10);
  EXPECT_EQ(pixel(grid, 2, 2), 10);
  EXPECT_EQ(pixel(grid, 3, 1), 255);
  EXPECT_EQ(pixel(grid, 7, 1), 12);
  EXPECT_EQ(pixel(grid, 1, 4), 13);
  EXPECT_EQ(pixel(grid, 7, 4), 255);  // the sixth cell is empty
}

TEST(GridTest, ScaleEnlargesEachPixel) {
  base::Tensor image(base::DType::kU8, {1, 1, 2, 3});
  const std::vector<uint8_t> colours = {1, 2, 3, 4, 5, 6};
  std::copy(colours.begin(), colours.end(), image.as<uint8_t>().begin());
  const formats::Image grid = make_grid(image, {.scale = 2, .gap = 0});
  EXPECT_EQ(grid.width, 4);
  EXPECT_EQ(grid.height, 2);
  EXPECT_THAT(grid.pixels_HWC,
              ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
}

TEST(GridTest, SquareSheetUnlessTold) {
  const formats::Image grid = make_grid(flat_images(7, 2, 1), {.gap = 0});
  EXPECT_EQ(grid.width, 6);
  EXPECT_EQ(grid.height, 6);
}

TEST(GridTest, RowLabelsAreDrawnBesideTheRows) {
  const GridLayout layout = {.columns = 1, .row_labels = {"A", ""}};
  const formats::Image grid = make_grid(flat_images(2, 16, 1), layout);
  EXPECT_EQ(grid.width, 2 + kGlyphWidth + 2 * kGlyphAdvance + 16 + 2);
  int64_t ink = 0;
  for (int64_t y = 0; y < grid.height; ++y) {
    for (int64_t x = 0; x < 2 + kGlyphWidth + 2 * kGlyphAdvance; ++x) {
      if (pixel(grid, x, y) != 0) continue;
      ++ink;
      EXPECT_LT(y, 2 + 16) << "ink beside the second row";
    }
  }
  EXPECT_EQ(ink, 16);  // the pixels of an A
}

TEST(GridTest, CaptionsAreCutToTheImage) {
  const GridLayout layout = {.captions = {"far too long a name"}};
  const formats::Image grid = make_grid(flat_images(1, 12, 1), layout);
  for (int64_t y = 0; y < grid.height; ++y) {
    EXPECT_EQ(pixel(grid, 0, y), 255);
    EXPECT_EQ(pixel(grid, grid.width - 1, y), 255);
  }
  EXPECT_EQ(std::count(grid.pixels_HWC.begin(), grid.pixels_HWC.end(), 0) > 0, true);
}

TEST(GridTest, EveryCharacterHasADifferentGlyph) {
  for (int a = ' '; a < '~'; ++a) {
    for (int b = a + 1; b <= '~'; ++b) {
      EXPECT_NE(glyph(static_cast<char>(a)), glyph(static_cast<char>(b)))
          << static_cast<char>(a) << static_cast<char>(b);
    }
  }
  EXPECT_EQ(glyph('\n'), glyph('\x80'));
}

TEST(GridTest, RefusesLatents) { EXPECT_THROW(make_grid(flat_images(1, 2, 4), {}), base::Error); }

TEST(LayoutByLabelTest, RowPerLabelWithEmptyCells) {
  const std::vector<int32_t> labels = {3, 1, 3};
  const GridLayout layout = layout_by_label(labels, {"c", "a", "c"});
  EXPECT_EQ(layout.columns, 2);
  EXPECT_THAT(layout.row_labels, ElementsAre("c", "a"));
  EXPECT_THAT(layout.cells, ElementsAre(0, 2, 1, -1));
}

TEST(LayoutByLabelTest, CaptionsWhereEachLabelHasOneImage) {
  const std::vector<int32_t> labels = {3, 1};
  const GridLayout layout = layout_by_label(labels, {"c", "a"});
  EXPECT_THAT(layout.captions, ElementsAre("c", "a"));
  EXPECT_TRUE(layout.row_labels.empty());
}

TEST(LayoutByLabelTest, OneLabelNeedsNoName) {
  const std::vector<int32_t> labels = {3, 3};
  const GridLayout layout = layout_by_label(labels, {"c", "c"});
  EXPECT_TRUE(layout.captions.empty());
  EXPECT_TRUE(layout.row_labels.empty());
}

TEST(GridTest, SmallImagesAreEnlarged) {
  EXPECT_EQ(comfortable_scale(28), 4);
  EXPECT_EQ(comfortable_scale(96), 1);
  EXPECT_EQ(comfortable_scale(256), 1);
}

}  // namespace
}  // namespace ditmoe::pipeline
