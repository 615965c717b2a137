#include "cases.h"
#include "tests/support/jpeg.h"

namespace ditmoe::formats::test {
namespace {

using tests::picture;
using tests::write_jpeg;

std::string small() { return write_jpeg(24, 16, 3, picture(24, 16, 3)); }

// Replaces what stands `offset` bytes after the first marker of this kind.
std::string with(std::string file, char marker, size_t offset, const std::string& bytes) {
  const size_t at = file.find(std::string("\xFF") + marker);
  return file.replace(at + offset, bytes.size(), bytes);
}

// A frame header begins: marker, length (2), precision, height (2), width (2), components.
constexpr char kFrame = '\xC0';
constexpr char kProgressive = '\xC2';
constexpr char kScan = '\xDA';
constexpr char kHuffman = '\xC4';

std::string big(int value) { return {static_cast<char>(value >> 8), static_cast<char>(value)}; }

std::string with_size(int width, int height) {
  return with(small(), kFrame, 5, big(height) + big(width));
}

// As large as the pixels that it claims to have would be at their smallest.
std::string padded(std::string file) {
  const std::string comment = "\xFF\xFE" + big(60002) + std::string(60000, 'x');
  return file.insert(2, comment + comment);
}

// 190 scans of three million grey pixels in a few kilobytes.
std::string many_scans_of_many_pixels() {
  constexpr int kWidth = 2048;
  constexpr int kHeight = 1536;
  const std::vector<uint8_t> grey(size_t{kWidth} * kHeight, 128);
  return write_jpeg(
      kWidth,
      kHeight,
      1,
      grey,
      {.input = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .progressive = true, .levels = 3});
}

}  // namespace

std::vector<MalformedCase> jpeg_cases() {
  const std::string good = small();
  const std::string begin = good.substr(0, 2);
  const std::string scans = write_jpeg(
      8,
      8,
      1,
      picture(8, 8, 1),
      {.input = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .progressive = true, .levels = 6});
  const std::string several = write_jpeg(24, 16, 3, picture(24, 16, 3), {.progressive = true});
  const tests::JpegSpec plain{
      .input = JCS_UNKNOWN, .stored = JCS_UNKNOWN, .luma_h = 1, .luma_v = 1};
  return {
      {"StartOnly", begin, "found something else"},
      {"StartAndEnd", begin + "\xFF\xD9", "damaged JPEG"},
      {"StartTwice", begin + good, "damaged JPEG"},
      {"HeaderOnly", good.substr(0, good.find(std::string("\xFF") + kScan)), "damaged JPEG"},
      {"HalfOfThePixels", good.substr(0, good.size() - 200), "damaged JPEG"},
      {"LastBytesMissing", good.substr(0, good.size() - 8), "damaged JPEG"},
      {"WidthZero", with_size(0, 16), "damaged JPEG"},
      {"HeightZero", with_size(24, 0), "damaged JPEG"},
      {"SidesOf65500", with_size(65500, 65500), "at most 178956970 pixels, found 65500x65500"},
      {"SidesBeyondTheFormat", with_size(65535, 2), "damaged JPEG"},
      {"PixelsBeyondTheLimit", with_size(13377, 13378), "at most 178956970 pixels"},
      {"PixelsWithinTheLimit", with_size(13377, 13377), "are more than"},
      {"PixelsBeyondTheFile", with_size(13000, 13000), "13000x13000 pixels are more than"},
      {"TallerThanItsData", with_size(24, 160), "damaged JPEG"},
      {"TwelveBits", with(good, kFrame, 4, "\x0C"), "damaged JPEG"},
      {"NoComponents", with(good, kFrame, 9, std::string(1, '\0')), "damaged JPEG"},
      {"TwoComponents",
       write_jpeg(8, 8, 2, picture(8, 8, 2), plain),
       "1, 3 or 4 components, found 2"},
      {"SamplingZero", with(good, kFrame, 11, std::string(1, '\0')), "damaged JPEG"},
      {"SamplingFive", with(good, kFrame, 11, "\x51"), "damaged JPEG"},
      {"QuantisationTableMissing", with(good, kFrame, 12, "\x03"), "damaged JPEG"},
      {"HuffmanTableOverfull", with(good, kHuffman, 5, std::string(16, '\xFF')), "damaged JPEG"},
      {"Lossless", with(good, kFrame, 1, "\xC3"), "damaged JPEG"},
      {"Hierarchical", with(good, kFrame, 1, "\xC5"), "damaged JPEG"},
      {"FrameTwice",
       good.substr(0, good.find(std::string("\xFF") + kScan)) +
           good.substr(good.find(std::string("\xFF") + kFrame)),
       "damaged JPEG"},
      {"ScanOfUnknownComponent", with(good, kScan, 5, "\x09"), "damaged JPEG"},
      {"SegmentLengthZero", begin + std::string("\xFF\xE0\0\0", 4), "damaged JPEG"},
      {"SegmentBeyondTheFile", begin + "\xFF\xE1\xFF\xFFx", "damaged JPEG"},
      {"Bomb", padded(with_size(8000, 8000)), "damaged JPEG"},
      {"BombOfSeveralScans",
       padded(with(several, kProgressive, 5, big(8000) + big(8000))),
       "several scans"},
      {"HundredsOfScans", scans, "at most 256 scans"},
      {"ManyScansOfManyPixels", many_scans_of_many_pixels, "expected at most 8"},
      {"GifNamedJpg", "GIF89a\x01\x01", "expected a PNG or a JPEG, found a GIF"},
      {"WebpNamedJpg", "RIFF\x01\x01\x01\x01WEBPVP8 ", "found a WebP"},
      {"ZeroBytes", "", "found an empty file"},
      {"TextNamedJpg", "<html>404</html>", "found something else"},
  };
}

}  // namespace ditmoe::formats::test
