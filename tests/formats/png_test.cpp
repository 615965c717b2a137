#include "ditmoe/formats/png.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "malformed.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::bytes_of;
using test::expect_error;
using test::MalformedCase;
using test::TempDir;

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

void append_big(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  std::string out;
  append_big(out, static_cast<uint32_t>(data.size()));
  out += body;
  append_big(out,
             static_cast<uint32_t>(crc32(
                 0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
  return out;
}

std::string zlib_of(const std::string& content) {
  uLongf size = compressBound(content.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()),
           &size,
           reinterpret_cast<const Bytef*>(content.data()),
           content.size());
  out.resize(size);
  return out;
}

std::string header(uint32_t width, uint32_t height, int depth, int color, int interlace = 0) {
  std::string data;
  append_big(data, width);
  append_big(data, height);
  data += {static_cast<char>(depth), static_cast<char>(color), 0, 0, static_cast<char>(interlace)};
  return chunk("IHDR", data);
}

const std::string kSignature = "\x89PNG\r\n\x1a\n";

std::string png(const std::string& head,
                const std::string& filtered,
                const std::string& tail = "") {
  return kSignature + head + chunk("IDAT", zlib_of(filtered)) + tail + chunk("IEND", "");
}

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out += static_cast<char>(value);
  return out;
}

TEST(PngTest, PaletteIsExpanded) {
  const TempDir dir;
  const std::string palette = chunk("PLTE", bytes({1, 2, 3, 4, 5, 6}));
  const std::string rows = bytes({0, 0b01000000});  // pixels 0, 1
  const Image opaque = read_png(dir.put("a", png(header(2, 1, 1, 3) + palette, rows)));
  EXPECT_EQ(opaque.channels, 3);
  EXPECT_EQ(opaque.pixels_HWC, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
  const std::string alpha = chunk("tRNS", bytes({9}));
  const Image transparent = read_png(dir.put("b", png(header(2, 1, 1, 3) + palette + alpha, rows)));
  EXPECT_EQ(transparent.channels, 4);
  EXPECT_EQ(transparent.pixels_HWC, (std::vector<uint8_t>{1, 2, 3, 9, 4, 5, 6, 255}));
}

TEST(PngTest, SixteenBitsAreScaled) {
  const TempDir dir;
  const std::string rows = bytes({0, 0x80, 0xFF, 0xFF, 0xFF});
  const Image image = read_png(dir.put("a", png(header(2, 1, 16, 0), rows)));
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{0x80, 0xFF}));
}

TEST(PngTest, FewBitsOfGreyAreExpanded) {
  const TempDir dir;
  const Image image = read_png(dir.put("a", png(header(4, 1, 2, 0), bytes({0, 0b00011011}))));
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{0, 85, 170, 255}));
}

TEST(PngTest, GreyWithAlphaBecomesRgba) {
  const TempDir dir;
  const Image image = read_png(dir.put("a", png(header(1, 1, 8, 4), bytes({0, 7, 9}))));
  EXPECT_EQ(image.channels, 4);
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{7, 7, 7, 9}));
}

TEST(PngTest, InterlacedImageIsWoven) {
  const TempDir dir;
  // Adam7 of 2x2: pass 1 has (0,0), pass 6 (1,0), pass 7 row 1.
  const std::string rows = bytes({0, 10, 0, 20, 0, 30, 40});
  const Image image = read_png(dir.put("a", png(header(2, 2, 8, 0, 1), rows)));
  EXPECT_EQ(image.pixels_HWC, (std::vector<uint8_t>{10, 20, 30, 40}));
}

TEST(PngTest, CompressedTextAndTextAfterThePixelsAreRead) {
  const TempDir dir;
  const std::string compressed = chunk("zTXt", std::string("a\0\0", 3) + zlib_of("caf\xe9"));
  const std::string international =
      chunk("iTXt", std::string("b\0\1\0\0\0", 6) + zlib_of("\u5c65"));
  const std::string path =
      dir.put("a", png(header(1, 1, 8, 0) + compressed, bytes({0, 1}), international));
  const Image image = read_png(path);
  ASSERT_EQ(image.text.size(), 2U);
  EXPECT_EQ(image.text[0], (std::pair<std::string, std::string>{"a", "caf\u00e9"}));
  EXPECT_EQ(image.text[1], (std::pair<std::string, std::string>{"b", "\u5c65"}));
}

std::string bad_checksum(std::string file, const std::string& chunk_type) {
  const size_t at = file.find(chunk_type);
  file[at + 4] = static_cast<char>(file[at + 4] ^ 1);
  return file;
}

std::vector<MalformedCase> cases() {
  const std::string row = bytes({0, 1});
  const std::string good = png(header(1, 1, 8, 0), row);
  const std::string text = chunk("tEXt", std::string("a\0b", 3));
  const std::string damaged = "damaged PNG";
  return {
      {"Empty", "", "byte 0: expected the signature"},
      {"GifNamedPng", "GIF89a\x01\x01" + good, "byte 0: expected the signature"},
      {"SignatureOnly", kSignature, "unexpected end"},
      {"NoHeader", kSignature + chunk("IEND", ""), damaged},
      {"WidthZero", png(header(0, 1, 8, 0), row), damaged},
      {"HeightZero", png(header(1, 0, 8, 0), row), damaged},
      {"WidthTwoTo31", png(header(0x80000000, 1, 8, 0), row), damaged},
      {"WidthOverLimit", png(header(0x10000001, 1, 8, 0), row), damaged},
      {"TooManyPixels",
       png(header(65500, 65500, 8, 2), row),
       "at most 2^28 pixels, found 65500x65500"},
      {"WideBomb", png(header(0x10000000, 1, 16, 6), row), "more than"},
      {"TallBomb", png(header(1, 0x10000000, 1, 0), row), "more than"},
      {"DepthThree", png(header(1, 1, 3, 0), row), damaged},
      {"ColorFive", png(header(1, 1, 8, 5), row), damaged},
      {"InterlaceTwo", png(header(1, 1, 8, 0, 2), row), damaged},
      {"PaletteMissing", png(header(1, 1, 8, 3), row), damaged},
      {"TwoHeaders", png(header(1, 1, 8, 0) + header(1, 1, 8, 0), row), damaged},
      {"NoPixels", kSignature + header(1, 1, 8, 0) + chunk("IEND", ""), damaged},
      {"RowsMissing", png(header(1, 9, 8, 0), row), damaged},
      {"FilterUnknown", png(header(1, 1, 8, 0), bytes({9, 1})), damaged},
      {"PixelsNotDeflated",
       kSignature + header(1, 1, 8, 0) + chunk("IDAT", "xxxx") + chunk("IEND", ""),
       damaged},
      {"HeaderChecksum", bad_checksum(good, "IHDR"), damaged},
      {"PixelChecksum", bad_checksum(good, "IDAT"), damaged},
      {"TextChecksum", bad_checksum(png(header(1, 1, 8, 0) + text, row), "tEXt"), damaged},
      {"TextNotUtf8",
       png(header(1, 1, 8, 0) + chunk("iTXt", std::string("a\0\0\0\0\0\xff", 7)), row),
       "text \"a\": expected UTF-8"},
      {"ChunkLengthBeyondFile", kSignature + "\x7f\xff\xff\xffIHDR", damaged},
      {"UnknownCriticalChunk", png(header(1, 1, 8, 0) + chunk("XXXX", ""), row), damaged},
  };
}

class PngMalformedTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(PngMalformedTest, IsBadInputThatNamesTheFault) {
  const TempDir dir;
  const std::string path = dir.put("bad.png", GetParam().file);
  expect_error([&] { read_png(path); }, ErrorKind::kBadInput, GetParam().message);
  expect_error([&] { read_png(path); }, ErrorKind::kBadInput, path + ": ");
}

INSTANTIATE_TEST_SUITE_P(Png, PngMalformedTest, testing::ValuesIn(cases()), test::name_of_case);

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
