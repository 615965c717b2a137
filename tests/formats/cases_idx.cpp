#include "cases.h"
#include "idx_bytes.h"

namespace ditmoe::formats::test {
namespace {

const std::string kGood = idx_header(8, {2, 3}) + "abcdef";

std::string damaged_checksum() {
  std::string file = gzip(kGood);
  file[file.size() - 8] = static_cast<char>(file[file.size() - 8] ^ 1);
  return file;
}

}  // namespace

std::vector<MalformedCase> idx_cases() {
  const std::string zeros(8, '\0');
  const std::string zipped = gzip(kGood);
  return {
      {"Empty", "", "byte 0: expected 4 more bytes, found 0"},
      {"ThreeBytes", std::string("\0\0\x08", 3), "found 3"},
      {"NotIdx", "PNG!abcdef", "expected 00 00 08"},
      {"FloatType", idx_header(13, {1}) + "abcd", "found 00 00 0d"},
      {"RankZero", idx_header(8, {}) + "a", "byte 3: expected 1 to 8 dimensions, found 0"},
      {"RankNine", idx_header(8, {1, 1, 1, 1, 1, 1, 1, 1, 1}) + "a", "found 9"},
      {"DimensionsCut",
       idx_header(8, {2, 3}).substr(0, 10),
       "byte 8: expected 4 more bytes, found 2"},
      {"DataShort", idx_header(8, {2, 3}) + "abcde", "more than the file can hold"},
      {"DataLong", idx_header(8, {2, 3}) + "abcdefg", "byte 18: expected the end"},
      {"Huge", idx_header(8, {0xFFFFFFFF, 2}), "more than the file can hold"},
      {"Overflow",
       idx_header(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}),
       "more than the file can hold"},
      {"ZeroTimesOverflow", idx_header(8, {0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}), "can hold"},
      {"GzipBomb", gzip(idx_header(8, {0x40000000})), "more than the file can hold"},
      {"GzipDataShort",
       gzip(idx_header(8, {2, 3}) + "abcde"),
       "byte 12: expected 6 more bytes, found 5"},
      {"GzipDataLong", gzip(kGood + "g"), "expected the end"},
      {"GzipHeaderOnly", zipped.substr(0, 10), "expected more data"},
      {"GzipCutInside", zipped.substr(0, zipped.size() - 12), "expected more data"},
      {"GzipCutChecksum", zipped.substr(0, zipped.size() - 4), "expected more data"},
      {"GzipChecksum", damaged_checksum(), "incorrect data check"},
      {"GzipTrailing", zipped + "x", "expected the end"},
      {"GzipMethod", std::string("\x1f\x8b\x07", 3) + zeros, "damaged deflate stream"},
      {"GzipBombWithData",
       [] {
         return gzip(idx_header(8, {45'000'000, 2}) + std::string(89'900'000, 'x'));
       },
       "more bytes, found"},
      {"GzipBombOneShort",
       [] { return gzip(idx_header(8, {100'000'000}) + std::string(99'999'999, 'x')); },
       "found"},
      {"GzipInsideGzip", gzip(zipped), "expected 00 00 08"},
      {"BigEndianMagic", idx_header(8, {2, 3}).substr(2) + "abcdef", "expected 00 00 08"},
      {"Rank255", patched(kGood, 3, "\xff"), "found 255"},
  };
}

}  // namespace ditmoe::formats::test
