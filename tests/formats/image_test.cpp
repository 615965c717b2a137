#include "ditmoe/formats/image.h"

#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "png_bytes.h"
#include "temp_dir.h"
#include "tests/support/jpeg.h"

namespace ditmoe::formats {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using test::bytes_from;
using test::chunk;
using test::expect_error;
using test::TempDir;

std::string big(uint32_t value) {
  std::string out;
  test::append_big(out, value);
  return out;
}

// A PNG with these unfiltered rows (each after its filter byte) and chunks before the pixels.
std::string png(uint32_t width,
                uint32_t height,
                int depth,
                int color,
                const std::string& rows,
                const std::string& chunks = "") {
  return test::png(test::png_header(width, height, depth, color) + chunks, rows);
}

std::vector<uint8_t> pixels(const std::string& file) {
  const Image image = read_image(std::as_bytes(std::span(file)), "x");
  EXPECT_EQ(image.channels, 3);
  EXPECT_EQ(image.pixels_HWC.size(), static_cast<size_t>(image.width * image.height * 3));
  return image.pixels_HWC;
}

void expect_refused(const std::string& file, const std::string& message) {
  expect_error(
      [&] { read_image(std::as_bytes(std::span(file)), "x"); }, ErrorKind::kBadInput, message);
}

TEST(ImageTest, AlphaIsDroppedNotBlended) {
  EXPECT_EQ(pixels(png(1, 1, 8, 6, bytes_from({0, 1, 2, 3, 0}))), (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(pixels(png(1, 1, 8, 4, bytes_from({0, 7, 0}))), (std::vector<uint8_t>{7, 7, 7}));
}

TEST(ImageTest, PaletteWithTransparencyGivesItsColours) {
  const std::string palette = chunk("PLTE", bytes_from({1, 2, 3, 4, 5, 6}));
  const std::string transparent = chunk("tRNS", bytes_from({0}));
  EXPECT_EQ(pixels(png(2, 1, 1, 3, bytes_from({0, 0b01000000}), palette + transparent)),
            (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
}

TEST(ImageTest, TransparentColourIsAColour) {
  EXPECT_EQ(
      pixels(
          png(1, 1, 8, 2, bytes_from({0, 1, 2, 3}), chunk("tRNS", bytes_from({0, 1, 0, 2, 0, 3})))),
      (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(pixels(png(1, 1, 8, 0, bytes_from({0, 9}), chunk("tRNS", bytes_from({0, 9})))),
            (std::vector<uint8_t>{9, 9, 9}));
}

TEST(ImageTest, UpperBitsOfSixteenCount) {
  // Pillow clips 16-bit grey at 255: both would be white.
  EXPECT_EQ(pixels(png(2, 1, 16, 0, bytes_from({0, 0x80, 0xFF, 0x01, 0x7F}))),
            (std::vector<uint8_t>{0x80, 0x80, 0x80, 1, 1, 1}));
  EXPECT_EQ(pixels(png(1, 1, 16, 2, bytes_from({0, 0, 255, 1, 255, 255, 255}))),
            (std::vector<uint8_t>{0, 1, 255}));
}

TEST(ImageTest, FirstPictureOfAnAnimationIsRead) {
  const std::string control = chunk("acTL", big(2) + big(0));
  const std::string frame =
      chunk("fcTL", big(0) + big(1) + big(1) + big(0) + big(0) + bytes_from({0, 1, 0, 1, 0, 0}));
  EXPECT_EQ(pixels(png(1, 1, 8, 2, bytes_from({0, 1, 2, 3}), control + frame)),
            (std::vector<uint8_t>{1, 2, 3}));
}

TEST(ImageTest, TextAndProfilesAreSkipped) {
  // Neither is valid; a reader of pixels need not care.
  const std::string chunks = chunk("iCCP", "x") + chunk("zTXt", "y");
  EXPECT_EQ(pixels(png(1, 1, 8, 2, bytes_from({0, 1, 2, 3}), chunks)),
            (std::vector<uint8_t>{1, 2, 3}));
}

TEST(ImageTest, BombsAreRefusedByTheirHeader) {
  const std::string row = bytes_from({0, 1});
  expect_refused(png(65500, 65500, 8, 2, row), "pixels, found 65500x65500");
  expect_refused(png(13377, 13377, 8, 0, row), "more than");
  expect_refused(png(0, 4, 8, 0, row), "damaged PNG");
  expect_refused(png(4, 0, 8, 0, row), "damaged PNG");
}

TEST(ImageTest, FormatIsToldByContent) {
  const TempDir dir;
  const std::string a = dir.put("a.png", tests::write_jpeg(8, 8, 3, tests::picture(8, 8, 3)));
  const std::string b = dir.put("b.jpg", png(1, 1, 8, 2, bytes_from({0, 1, 2, 3})));
  EXPECT_EQ(read_image(a).width, 8);
  EXPECT_EQ(read_image(b).pixels_HWC, (std::vector<uint8_t>{1, 2, 3}));
  const std::pair<std::string, const char*> others[] = {{"", "an empty file"},
                                                        {"GIF87a", "a GIF"},
                                                        {"BM\x01\x02", "a BMP"},
                                                        {std::string("II*\0", 4), "a TIFF"},
                                                        {std::string("MM\0*", 4), "a TIFF"},
                                                        {"\xFF\x0A\x01", "a JPEG XL"},
                                                        {"\x89PNG", "something else"},
                                                        {"\xFF\xD8", "something else"}};
  for (const auto& [file, name] : others) expect_refused(file, std::string("found ") + name);
}

TEST(ImageTest, WhatIsNoReadableFileIsRefused) {
  const TempDir dir;
  const std::string file = dir.put("a.png", png(1, 1, 8, 0, bytes_from({0, 1})));
  fs::create_symlink(file, dir.file("link.png"));
  EXPECT_EQ(read_image(dir.file("link.png")).width, 1);
  const auto refused = [&](const std::string& name, const std::string& message) {
    const std::string path = dir.file(name);
    expect_error([&] { read_image(path); }, ErrorKind::kBadInput, path + ": " + message);
  };
  fs::create_directory(dir.file("folder.png"));
  refused("folder.png", "expected a regular file, found a folder");
  ASSERT_EQ(mkfifo(dir.file("pipe.png").c_str(), 0600), 0);
  refused("pipe.png", "expected a regular file, found a pipe");
  fs::create_symlink(dir.file("loop.png"), dir.file("loop.png"));
  refused("loop.png", "cannot be opened");
  fs::create_symlink(dir.file("absent"), dir.file("broken.png"));
  refused("broken.png", "cannot be opened: No such file");
  refused("a.png/b.png", "cannot be opened: Not a directory");
  fs::permissions(file, fs::perms::none);
  if (geteuid() != 0) refused("a.png", "cannot be opened: Permission denied");
}

}  // namespace
}  // namespace ditmoe::formats
