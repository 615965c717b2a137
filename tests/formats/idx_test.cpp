#include "ditmoe/formats/idx.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "malformed.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::ErrorKind;
using test::expect_error;
using test::MalformedCase;
using test::TempDir;

std::string gzip(const std::string& content) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// A header: 00 00 type rank and big-endian dimensions.
std::string header(char type, const std::vector<uint32_t>& dims) {
  std::string out = {0, 0, type, static_cast<char>(dims.size())};
  for (const uint32_t dim : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(dim >> shift);
  }
  return out;
}

const std::string kGood = header(8, {2, 3}) + "abcdef";

void expect_good(const base::Tensor& tensor) {
  EXPECT_EQ(tensor.dtype(), base::DType::kU8);
  EXPECT_EQ(tensor.shape(), (base::Shape{2, 3}));
  EXPECT_EQ(tensor.as<uint8_t>()[5], 'f');
}

TEST(IdxTest, PlainAndGzipGiveTheSame) {
  const TempDir dir;
  expect_good(read_idx(dir.put("plain", kGood)));
  expect_good(read_idx(dir.put("gzip", gzip(kGood))));
}

TEST(IdxTest, LargeGzipIsWhole) {
  const TempDir dir;
  const auto tensor =
      read_idx(dir.put("a", gzip(header(8, {3'000'000}) + std::string(3'000'000, 'x'))));
  EXPECT_EQ(tensor.size(), 3'000'000);
  EXPECT_EQ(tensor.as<uint8_t>().back(), 'x');
}

std::string damaged_checksum() {
  std::string file = gzip(kGood);
  file[file.size() - 8] = static_cast<char>(file[file.size() - 8] ^ 1);
  return file;
}

std::vector<MalformedCase> cases() {
  const std::string zeros(8, '\0');
  const std::string zipped = gzip(kGood);
  return {
      {"Empty", "", "byte 0: expected 4 more bytes, found 0"},
      {"ThreeBytes", std::string("\0\0\x08", 3), "found 3"},
      {"NotIdx", "PNG!abcdef", "expected 00 00 08"},
      {"FloatType", header(13, {1}) + "abcd", "found 00 00 0d"},
      {"RankZero", header(8, {}) + "a", "byte 3: expected 1 to 8 dimensions, found 0"},
      {"RankNine", header(8, {1, 1, 1, 1, 1, 1, 1, 1, 1}) + "a", "found 9"},
      {"DimensionsCut", header(8, {2, 3}).substr(0, 10), "byte 8: expected 4 more bytes, found 2"},
      {"DataShort", header(8, {2, 3}) + "abcde", "more than the file can hold"},
      {"DataLong", header(8, {2, 3}) + "abcdefg", "byte 18: expected the end"},
      {"Huge", header(8, {0xFFFFFFFF, 2}), "more than the file can hold"},
      {"Overflow", header(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}), "more than the file can hold"},
      {"ZeroTimesOverflow", header(8, {0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}), "can hold"},
      {"GzipBomb", gzip(header(8, {0x40000000})), "more than the file can hold"},
      {"GzipDataShort",
       gzip(header(8, {2, 3}) + "abcde"),
       "byte 12: expected 6 more bytes, found 5"},
      {"GzipDataLong", gzip(kGood + "g"), "expected the end"},
      {"GzipHeaderOnly", zipped.substr(0, 10), "expected more data"},
      {"GzipCutInside", zipped.substr(0, zipped.size() - 12), "expected more data"},
      {"GzipCutChecksum", zipped.substr(0, zipped.size() - 4), "expected more data"},
      {"GzipChecksum", damaged_checksum(), "incorrect data check"},
      {"GzipTrailing", zipped + "x", "expected the end"},
      {"GzipMethod", std::string("\x1f\x8b\x07", 3) + zeros, "damaged deflate stream"},
  };
}

class IdxMalformedTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(IdxMalformedTest, IsBadInputThatNamesTheFault) {
  const TempDir dir;
  const std::string path = dir.put("bad.idx", GetParam().file);
  expect_error([&] { read_idx(path); }, ErrorKind::kBadInput, GetParam().message);
  expect_error([&] { read_idx(path); }, ErrorKind::kBadInput, path + ": ");
}

INSTANTIATE_TEST_SUITE_P(Idx, IdxMalformedTest, testing::ValuesIn(cases()), test::name_of_case);

TEST(IdxTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  for (const std::string& whole : {kGood, gzip(kGood)}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
      expect_error([&] { read_idx(path); }, ErrorKind::kBadInput, path);
    }
  }
}

}  // namespace
}  // namespace ditmoe::formats
