#include "cases.h"
#include "png_bytes.h"

namespace ditmoe::formats::test {
namespace {

std::string bad_checksum(std::string file, const std::string& chunk_type) {
  const size_t at = file.find(chunk_type);
  file[at + 4] = static_cast<char>(file[at + 4] ^ 1);
  return file;
}

std::vector<MalformedCase> image_cases() {
  const std::string row = bytes_from({0, 1});
  const std::string good = png(png_header(1, 1, 8, 0), row);
  const std::string text = chunk("tEXt", std::string("a\0b", 3));
  const std::string damaged = "damaged PNG";
  return {
      {"Empty", "", "byte 0: expected the signature"},
      {"GifNamedPng", "GIF89a\x01\x01" + good, "byte 0: expected the signature"},
      {"SignatureOnly", kPngSignature, "unexpected end"},
      {"NoHeader", kPngSignature + chunk("IEND", ""), "byte 12: expected a header"},
      {"WidthZero", png(png_header(0, 1, 8, 0), row), damaged},
      {"HeightZero", png(png_header(1, 0, 8, 0), row), damaged},
      {"WidthTwoTo31", png(png_header(0x80000000, 1, 8, 0), row), damaged},
      {"WidthOverLimit", png(png_header(0x10000001, 1, 8, 0), row), damaged},
      {"TooManyPixels",
       png(png_header(65500, 65500, 8, 2), row),
       "at most 178956970 pixels, found 65500x65500"},
      {"WideBomb", png(png_header(0x00100000, 100, 16, 6), row), "more than"},
      {"WidthOverOurLimit", png(png_header(0x00100001, 1, 8, 0), row), damaged},
      {"WidthAndHeightAllOnes", png(png_header(0xFFFFFFFF, 0xFFFFFFFF, 8, 0), row), damaged},
      {"DepthZero", png(png_header(1, 1, 0, 0), row), damaged},
      {"DepthThirtyTwo", png(png_header(1, 1, 32, 0), row), damaged},
      {"PaletteOf16Bits", png(png_header(1, 1, 16, 3), row), damaged},
      {"RgbOfOneBit", png(png_header(1, 1, 1, 2), row), damaged},
      {"HeaderShort", kPngSignature + chunk("IHDR", "") + chunk("IEND", ""), damaged},
      {"HeaderLong", kPngSignature + chunk("IHDR", std::string(14, '\1')), damaged},
      {"HeaderNotFirst", kPngSignature + text + good.substr(8), "byte 12: expected a header"},
      {"PaletteTooLong",
       png(png_header(1, 1, 8, 3) + chunk("PLTE", std::string(257 * 3, 'x')), row),
       damaged},
      {"PaletteNotOfThrees", png(png_header(1, 1, 8, 3) + chunk("PLTE", "xxxx"), row), damaged},
      {"PaletteEmpty", png(png_header(1, 1, 8, 3) + chunk("PLTE", ""), row), damaged},
      {"PaletteAfterPixels",
       kPngSignature + png_header(1, 1, 8, 3) + chunk("IDAT", zlib_of(row)) + chunk("PLTE", "xxx"),
       damaged},
      {"NoEnd", good.substr(0, good.size() - 12), "unexpected end"},
      {"EndOnly", kPngSignature + chunk("IEND", ""), "byte 12: expected a header"},
      {"DictionaryInPixels",
       kPngSignature + png_header(1, 1, 8, 0) + chunk("IDAT", "\x78\xbb\x01\x02\x03\x04") +
           chunk("IEND", ""),
       damaged},
      {"PixelsCut",
       kPngSignature + png_header(64, 64, 8, 0) +
           chunk("IDAT", zlib_of(std::string(64 * 65, '\0')).substr(0, 12)) + chunk("IEND", ""),
       damaged},
      {"ChunkTypeNotLetters", png(png_header(1, 1, 8, 0) + chunk("1234", ""), row), damaged},
      {"LengthAllOnes", kPngSignature + png_header(1, 1, 8, 0) + "\xff\xff\xff\xffIDAT", damaged},
      {"Jpeg", "\xff\xd8\xff\xe0" + std::string(20, '\0'), "byte 0: expected the signature"},
      {"LineEndsConverted", "\x89PNG\n\x1a\n" + good.substr(8), "byte 0: expected the signature"},
      {"TallBomb", png(png_header(100, 0x00100000, 1, 0), row), "more than"},
      {"HeightOverOurLimit", png(png_header(1, 0x00100001, 1, 0), row), damaged},
      {"DepthThree", png(png_header(1, 1, 3, 0), row), damaged},
      {"ColorFive", png(png_header(1, 1, 8, 5), row), damaged},
      {"InterlaceTwo", png(png_header(1, 1, 8, 0, 2), row), damaged},
      {"PaletteMissing", png(png_header(1, 1, 8, 3), row), damaged},
      {"TwoHeaders", png(png_header(1, 1, 8, 0) + png_header(1, 1, 8, 0), row), damaged},
      {"NoPixels", kPngSignature + png_header(1, 1, 8, 0) + chunk("IEND", ""), damaged},
      {"RowsMissing", png(png_header(1, 9, 8, 0), row), damaged},
      {"FilterUnknown", png(png_header(1, 1, 8, 0), bytes_from({9, 1})), damaged},
      {"PixelsNotDeflated",
       kPngSignature + png_header(1, 1, 8, 0) + chunk("IDAT", "xxxx") + chunk("IEND", ""),
       damaged},
      {"HeaderChecksum", bad_checksum(good, "IHDR"), damaged},
      {"PixelChecksum", bad_checksum(good, "IDAT"), damaged},
      {"TextChecksum", bad_checksum(png(png_header(1, 1, 8, 0) + text, row), "tEXt"), damaged},
      {"ChunkLengthBeyondFile", kPngSignature + "\x7f\xff\xff\xffIHDR", damaged},
      {"UnknownCriticalChunk", png(png_header(1, 1, 8, 0) + chunk("XXXX", ""), row), damaged},
  };
}

// Good pixels, and one text.
std::string with_text(const std::string& type, const std::string& data) {
  return png(png_header(1, 1, 8, 0) + chunk(type, data), bytes_from({0, 1}));
}

std::vector<MalformedCase> text_cases() {
  const std::string keyword("a\0", 2);
  const std::string compressed("a\0\0", 3);
  const std::string international("a\0\1\0\0\0", 6);
  const auto bomb = [](const char* type, const std::string& head) {
    return [=] { return with_text(type, head + zlib_of(std::string(100'000'000, 'x'))); };
  };
  const auto plain = [&](size_t bytes, char letter) {
    return [=] { return with_text("tEXt", keyword + std::string(bytes, letter)); };
  };
  const std::string zlib = zlib_of("text");
  return {
      {"TextNotUtf8",
       with_text("iTXt", std::string("a\0\0\0\0\0\xff", 7)),
       "byte 33: text \"a\": expected UTF-8"},
      {"TextNotUtf8Compressed", with_text("iTXt", international + zlib_of("\xff")), "UTF-8"},
      {"TextEmpty", with_text("tEXt", ""), "byte 33: text: expected a zero byte, found none"},
      {"TextWithoutKeyword",
       with_text("tEXt", std::string("\0x", 2)),
       "a keyword of 1 to 79 bytes"},
      {"TextKeywordLong", with_text("tEXt", std::string(80, 'k') + '\0'), "found 80"},
      {"TextWithoutMethod",
       with_text("zTXt", keyword),
       "text \"a\": expected compression method 0"},
      {"TextMethodOne",
       with_text("zTXt", keyword + "\x01" + zlib),
       "expected compression method 0"},
      {"TextWithoutStream", with_text("zTXt", compressed), "expected more data, found the end"},
      {"TextStreamDamaged", with_text("zTXt", compressed + "xxxx"), "damaged deflate stream"},
      {"TextStreamCut",
       with_text("zTXt", compressed + zlib.substr(0, zlib.size() - 4)),
       "expected more data"},
      {"TextAfterStream",
       with_text("zTXt", compressed + zlib + "x"),
       "expected the end of the text"},
      {"TextFlagTwo", with_text("iTXt", std::string("a\0\2\0\0\0", 6)), "compression flag 0 or 1"},
      {"TextWithoutFlags", with_text("iTXt", keyword), "compression flag 0 or 1"},
      {"TextWithoutLanguage", with_text("iTXt", std::string("a\0\0\0en", 6)), "a zero byte"},
      {"TextBomb", bomb("zTXt", compressed), "at most 4194304 bytes of text"},
      {"TextBombInternational", bomb("iTXt", international), "at most 4194304 bytes"},
      {"TextLarge", plain(5'000'000, 'x'), "at most 4194304"},
      {"TextGrowing", plain(3'000'000, '\xff'), "at most 4194304"},
      {"TextsMany",
       png(png_header(1, 1, 8, 0) + repeated(chunk("tEXt", keyword), 5000), bytes_from({0, 1})),
       "at most 4096 texts"},
      {"TextsOfOneMegabyte",
       [=] {
         const std::string text = zlib_of(std::string(1'000'000, 'x'));
         return png(png_header(1, 1, 8, 0) + repeated(chunk("zTXt", compressed + text), 100),
                    bytes_from({0, 1}));
       },
       "at most 4194304"},
  };
}

// Images that claim to be larger than what they hold, in spite of their good compression.
std::vector<MalformedCase> bomb_cases() {
  const auto bomb = [](uint32_t width, uint32_t height, int depth, int color, int interlace) {
    return [=] {
      return png(png_header(width, height, depth, color, interlace) +
                     chunk("juNk", std::string(100'000, 'x')),
                 std::string(20'000'000, '\0'));
    };
  };
  const std::string damaged = "damaged PNG";
  return {
      {"BombTooShort", bomb(8191, 2300, 8, 6, 0), damaged},
      {"BombTooShortInterlaced", bomb(8191, 2300, 8, 6, 1), damaged},
      {"BombOfManyRows", bomb(80, 1'000'000, 8, 0, 0), damaged},
  };
}

}  // namespace

std::vector<MalformedCase> png_cases() { return joined(image_cases(), text_cases(), bomb_cases()); }

}  // namespace ditmoe::formats::test
