// What Pillow makes of JPEGs is in tests/datasets/pillow_test.cpp, damage in cases_jpeg.cpp.

#include "ditmoe/formats/jpeg.h"

#include <gtest/gtest.h>

#include "temp_dir.h"
#include "tests/support/jpeg.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::expect_error;
using tests::picture;
using tests::write_jpeg;

std::string small() { return write_jpeg(24, 16, 3, picture(24, 16, 3)); }

Image decode(const std::string& bytes) {
  return read_jpeg_rgb(std::as_bytes(std::span(bytes)), "x.jpg");
}

TEST(JpegTest, EveryTruncationIsBadInput) {
  for (const bool progressive : {false, true}) {
    const std::string whole =
        write_jpeg(24, 16, 3, picture(24, 16, 3), {.progressive = progressive});
    EXPECT_EQ(decode(whole).pixels_HWC.size(), 24U * 16 * 3);
    // The last two bytes are the end marker.
    for (size_t size = 0; size + 2 < whole.size(); ++size) {
      expect_error([&] { decode(whole.substr(0, size)); }, ErrorKind::kBadInput, "x.jpg: byte ");
    }
  }
}

TEST(JpegTest, FlippedBitsAreDecodedOrRefused) {
  const std::string whole = write_jpeg(24, 16, 3, picture(24, 16, 3), {.progressive = true});
  int refused = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << bit);
      try {
        decode(bytes);
      } catch (const base::Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(JpegTest, OrientationIsNotApplied) {
  // TIFF header, one entry: 0x0112 orientation = 6 (turn right).
  const std::string exif("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
                         32);
  const Image turned = decode(write_jpeg(24, 16, 3, picture(24, 16, 3), {.application1 = exif}));
  EXPECT_EQ(turned.width, 24);
  EXPECT_EQ(turned.height, 16);
  EXPECT_EQ(turned.pixels_HWC, decode(small()).pixels_HWC);
}

TEST(JpegTest, GreyBecomesThreeEqualChannels) {
  const Image grey = decode(write_jpeg(
      5, 3, 1, std::vector<uint8_t>(15, 99), {.input = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE}));
  EXPECT_EQ(grey.channels, 3);
  EXPECT_EQ(grey.pixels_HWC, std::vector<uint8_t>(45, 99));
}

TEST(JpegTest, InkOfAdobeIsInverted) {
  // Stored 255 is no ink: white; no black, full yellow ink: blue is missing.
  const auto flat = [](std::vector<uint8_t> pixel) {
    std::vector<uint8_t> samples;
    for (int i = 0; i < 64; ++i) samples.insert(samples.end(), pixel.begin(), pixel.end());
    const tests::JpegSpec spec{
        .input = JCS_CMYK, .stored = JCS_CMYK, .quality = 100, .luma_h = 1, .luma_v = 1};
    const Image image = decode(write_jpeg(8, 8, 4, samples, spec));
    return std::vector<uint8_t>(image.pixels_HWC.begin(), image.pixels_HWC.begin() + 3);
  };
  EXPECT_EQ(flat({255, 255, 255, 255}), (std::vector<uint8_t>{255, 255, 255}));
  EXPECT_EQ(flat({255, 255, 0, 255}), (std::vector<uint8_t>{255, 255, 0}));
  EXPECT_EQ(flat({255, 255, 255, 0}), (std::vector<uint8_t>{0, 0, 0}));
  EXPECT_EQ(flat({255, 255, 255, 128}), (std::vector<uint8_t>{128, 128, 128}));
}

TEST(JpegTest, BytesBetweenSegmentsAreLetPass) {
  std::string bytes = small();
  bytes.insert(bytes.find("\xFF\xC0"), "junk");  // before the frame's header
  EXPECT_EQ(decode(bytes).pixels_HWC, decode(small()).pixels_HWC);
}

TEST(JpegTest, LargePictureIsReadWhole) {
  // More than 64 MiB of pixels: read twice, the first time to see that they are there.
  const std::vector<uint8_t> samples(7000 * 4000, 200);
  std::string bytes = write_jpeg(
      7000, 4000, 1, samples, {.input = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .quality = 100});
  const Image image = decode(bytes);
  EXPECT_EQ(image.pixels_HWC, std::vector<uint8_t>(size_t{7000} * 4000 * 3, 200));
  bytes.resize(bytes.size() - 1000);
  expect_error([&] { decode(bytes); }, ErrorKind::kBadInput, "damaged JPEG");
}

}  // namespace
}  // namespace ditmoe::formats
