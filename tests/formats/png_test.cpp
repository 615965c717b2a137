#include "ditmoe/formats/png.h"

#include <gtest/gtest.h>

#include "malformed.h"
#include "png_bytes.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::bytes_from;
using test::bytes_of;
using test::chunk;
using test::expect_error;
using test::png;
using test::png_header;
using test::TempDir;
using test::zlib_of;

Image ramp(int64_t width, int64_t height, int64_t channels) {
  Image image{width, height, channels, {}, {}};
  for (int64_t i = 0; i < width * height * channels; ++i) {
    image.pixels_HWC.push_back(static_cast<uint8_t>(i * 7));
  }
  return image;
}

TEST(PngTest, EveryNumberOfChannelsRoundTrips) {
  const TempDir dir;
  for (const int64_t channels : {1, 3, 4}) {
    const Image image = ramp(5, 3, channels);
    write_png(dir.file("a.png"), image);
    const Image read = read_png(dir.file("a.png"));
    EXPECT_EQ(read.width, 5);
    EXPECT_EQ(read.height, 3);
    EXPECT_EQ(read.channels, channels);
    EXPECT_EQ(read.pixels_HWC, image.pixels_HWC);
    EXPECT_TRUE(read.text.empty());
  }
  EXPECT_EQ(dir.count(), 1U);
}

TEST(PngTest, TextRoundTripsInLatin1AndBeyond) {
  const TempDir dir;
  Image image = ramp(1, 1, 1);
  image.text = {{"Software", "ditmoe"},
                {"Title", "caf\u00e9 \u00ff"},
                {"parameters", "\u5c65 \U0001F45F\nseed: 1"},
                {"Empty", ""}};
  write_png(dir.file("a.png"), image);
  EXPECT_EQ(read_png(dir.file("a.png")).text, image.text);
  const std::string bytes = bytes_of(dir.file("a.png"));
  EXPECT_NE(bytes.find("tEXtTitle"), std::string::npos);
  EXPECT_NE(bytes.find("iTXtparameters"), std::string::npos);
}

TEST(PngTest, WriterRefusesTextPngCannotHold) {
  const TempDir dir;
  const std::vector<std::pair<std::string, std::string>> texts = {{"", "x"},
                                                                  {" a", "x"},
                                                                  {"a ", "x"},
                                                                  {"a  b", "x"},
                                                                  {"a\n", "x"},
                                                                  {std::string(80, 'k'), "x"},
                                                                  {"a", "\xff"},
                                                                  {"a", "\xed\xa0\x80"},
                                                                  {"a", std::string("x\0y", 3)}};
  for (const auto& text : texts) {
    Image image = ramp(1, 1, 1);
    image.text = {text};
    expect_error([&] { write_png(dir.file("a.png"), image); }, ErrorKind::kFailure, "not valid");
  }
  EXPECT_EQ(dir.count(), 0U);
}

TEST(PngTest, MissingFolderIsAFailureThatNamesThePath) {
  const TempDir dir;
  const std::string path = dir.file("missing/a.png");
  expect_error([&] { write_png(path, ramp(1, 1, 1)); }, ErrorKind::kFailure, path);
}

TEST(PngTest, PaletteIsExpanded) {
  const TempDir dir;
  const std::string palette = chunk("PLTE", bytes_from({1, 2, 3, 4, 5, 6}));
  const std::string rows = bytes_from({0, 0b01000000});  // pixels 0, 1
  const Image opaque = read_png(dir.put("a", png(png_header(2, 1, 1, 3) + palette, rows)));
  EXPECT_EQ(opaque.channels, 3);
  EXPECT_EQ(opaque.pixels_HWC, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
  const std::string alpha = chunk("tRNS", bytes_from({9}));
  const Image transparent =
      read_png(dir.put("b", png(png_header(2, 1, 1, 3) + palette + alpha, rows)));
  EXPECT_EQ(transparent.channels, 4);
  EXPECT_EQ(transparent.pixels_HWC, (std::vector<uint8_t>{1, 2, 3, 9, 4, 5, 6, 255}));
}

TEST(PngTest, SixteenBitsAreScaled) {
  const TempDir dir;
  const std::string rows = bytes_from({0, 0x80, 0xFF, 0xFF, 0xFF});
  const Image image = read_png(dir.put("a", png(png_header(2, 1, 16, 0), rows)));
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{0x80, 0xFF}));
}

TEST(PngTest, FewBitsOfGreyAreExpanded) {
  const TempDir dir;
  const Image image =
      read_png(dir.put("a", png(png_header(4, 1, 2, 0), bytes_from({0, 0b00011011}))));
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{0, 85, 170, 255}));
}

TEST(PngTest, GreyWithAlphaBecomesRgba) {
  const TempDir dir;
  const Image image = read_png(dir.put("a", png(png_header(1, 1, 8, 4), bytes_from({0, 7, 9}))));
  EXPECT_EQ(image.channels, 4);
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{7, 7, 7, 9}));
}

TEST(PngTest, InterlacedImageIsWoven) {
  const TempDir dir;
  // Adam7 of 2x2: pass 1 has (0,0), pass 6 (1,0), pass 7 row 1.
  const std::string rows = bytes_from({0, 10, 0, 20, 0, 30, 40});
  const Image image = read_png(dir.put("a", png(png_header(2, 2, 8, 0, 1), rows)));
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{10, 20, 30, 40}));
}

TEST(PngTest, CompressedTextAndTextAfterThePixelsAreRead) {
  const TempDir dir;
  const std::string compressed = chunk("zTXt", std::string("a\0\0", 3) + zlib_of("caf\xe9"));
  const std::string international =
      chunk("iTXt", std::string("b\0\1\0\0\0", 6) + zlib_of("\u5c65"));
  const std::string path =
      dir.put("a", png(png_header(1, 1, 8, 0) + compressed, bytes_from({0, 1}), international));
  const Image image = read_png(path);
  ASSERT_EQ(image.text.size(), 2U);
  EXPECT_EQ(image.text[0], (std::pair<std::string, std::string>{"a", "caf\u00e9"}));
  EXPECT_EQ(image.text[1], (std::pair<std::string, std::string>{"b", "\u5c65"}));
}

TEST(PngTest, WhatPixelsDoNotNeedIsSkippedUnexpanded) {
  const TempDir dir;
  const std::string bomb = zlib_of(std::string(20'000'000, 'x'));
  const std::string profile = chunk("iCCP", std::string("p\0\0", 3) + bomb);
  std::string chunks;
  for (int i = 0; i < 1000; ++i) chunks += profile + chunk("eXIf", "MM") + chunk("sPLT", "x");
  const std::string file = png(png_header(1, 1, 8, 0) + chunks, bytes_from({0, 5}));
  const std::string path = dir.put("a", file);
  test::expect_memory_below(size_t{1} << 20,
                            [&] { EXPECT_EQ(read_png(path).pixels_HWC, std::vector<uint8_t>{5}); });
}

TEST(PngTest, LargeImagesThatCompressWellAreRead) {
  const TempDir dir;
  for (const int interlace : {0, 1}) {
    // 36 MB from 40 KB. Of an interlaced image the passes take the seventh part more in filters.
    const std::string rows(36'100'000, '\0');
    const Image image = read_png(dir.put("a", png(png_header(6000, 6000, 8, 0, interlace), rows)));
    EXPECT_EQ(image.pixels_HWC.size(), 36'000'000U);
    EXPECT_TRUE(image.text.empty());
  }
}

TEST(PngTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  Image image = ramp(4, 4, 3);
  image.text = {{"a", "b"}, {"c", "\u5c65"}};
  write_png(dir.file("whole"), image);
  const std::string whole = bytes_of(dir.file("whole"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
    expect_error([&] { read_png(path); }, ErrorKind::kBadInput, path);
  }
}

}  // namespace
}  // namespace ditmoe::formats
