#include "ditmoe/formats/safetensors.h"

#include <array>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/bytes.h"

#include "malformed.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::ErrorKind;
using base::Tensor;
using test::expect_error;
using test::MalformedCase;
using test::TempDir;

TEST(SafetensorsTest, RoundTripKeepsTensorsAndMetadata) {
  const TempDir dir;
  const Tensor weights = Tensor::from({2, 3}, std::array{1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  const Tensor scalar = Tensor::from({}, std::array{7.0F});
  const Tensor empty(DType::kBF16, {0, 5});
  const std::string path = dir.file("a.safetensors");
  write_safetensors(path,
                    {{"w", weights.view()}, {"\u00e9\"\n", scalar.view()}, {"empty", empty.view()}},
                    {{"format", "pt"}, {"quote\"", "line\nline"}});

  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("quote\""), "line\nline");
  ASSERT_EQ(file.entries().size(), 3U);
  EXPECT_EQ(file.entries()[0].name, "w");
  EXPECT_EQ(file.entries()[0].shape, (base::Shape{2, 3}));
  EXPECT_EQ(file.view("w").as<float>()[5], 6.0F);
  EXPECT_EQ(file.view("\u00e9\"\n").as<float>()[0], 7.0F);
  EXPECT_EQ(file.view("empty").bytes(), 0U);
  EXPECT_TRUE(file.contains("empty"));
  EXPECT_FALSE(file.contains("absent"));
}

TEST(SafetensorsTest, EveryTypeRoundTrips) {
  const TempDir dir;
  for (const DType dtype : {DType::kF64,
                            DType::kF32,
                            DType::kF16,
                            DType::kBF16,
                            DType::kI64,
                            DType::kI32,
                            DType::kI16,
                            DType::kI8,
                            DType::kU8,
                            DType::kBool}) {
    Tensor tensor(dtype, {3});
    for (size_t i = 0; i < tensor.bytes(); ++i) tensor.data()[i] = std::byte(i % 2);
    const std::string path = dir.file("a.safetensors");
    write_safetensors(path, {{"t", tensor.view()}});
    const auto view = SafetensorsFile::open(path).view("t");
    EXPECT_EQ(view.dtype, dtype);
    const auto file = SafetensorsFile::open(path);
    EXPECT_EQ(std::memcmp(file.view("t").data, tensor.view().data, tensor.bytes()), 0);
  }
}

TEST(SafetensorsTest, DataIsAlignedForItsType) {
  const TempDir dir;
  const Tensor odd(DType::kU8, {3});
  const Tensor half(DType::kBF16, {5});
  const Tensor full(DType::kF32, {1});
  const std::string path = dir.file("a.safetensors");
  write_safetensors(path, {{"odd", odd.view()}, {"half", half.view()}, {"full", full.view()}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.entries()[0].name, "full");
  EXPECT_EQ(file.entries()[0].offset % 64, 0U);
  EXPECT_EQ(file.entries()[1].offset % 2, 0U);
}

TEST(SafetensorsTest, WriterRefusesNamesTheFormatForbids) {
  const TempDir dir;
  const Tensor tensor(DType::kF32, {1});
  const std::string path = dir.file("a.safetensors");
  const auto view = tensor.view();
  expect_error(
      [&] {
        write_safetensors(path, {{"a", view}, {"a", view}});
      },
      ErrorKind::kFailure,
      "\"a\" is taken");
  expect_error(
      [&] {
        write_safetensors(path, {{"__metadata__", view}});
      },
      ErrorKind::kFailure,
      "reserved");
  expect_error([&] { write_safetensors(path, {{"\xff", view}}); }, ErrorKind::kFailure, "UTF-8");
  EXPECT_EQ(dir.count(), 0U);
}

TEST(SafetensorsTest, UnknownNameIsBadInput) {
  const TempDir dir;
  write_safetensors(dir.file("a"), {});
  const SafetensorsFile file = SafetensorsFile::open(dir.file("a"));
  EXPECT_TRUE(file.entries().empty());
  expect_error([&] { file.view("x"); }, ErrorKind::kBadInput, "expected a tensor \"x\"");
}

// A file with this header and data.
std::string file_of(const std::string& header, size_t data_bytes = 0) {
  std::string file;
  append_little(file, static_cast<uint64_t>(header.size()));
  return file + header + std::string(data_bytes, '\0');
}

std::string with_length(uint64_t length) {
  std::string file;
  append_little(file, length);
  return file + "{}";
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(
      R"({{"t":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
}

std::string two(const std::string& first, const std::string& second) {
  return fmt::format(
      R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
      first,
      second);
}

std::vector<MalformedCase> header_cases() {
  return {
      {"Empty", "", "expected 8 bytes of header length, found 0"},
      {"SevenBytes", std::string(7, '\0'), "found 7"},
      {"LengthZero", with_length(0), "byte 8: expected a header that begins with {"},
      {"LengthBeyondFile", with_length(3), "expected a header of 3 bytes, found 2"},
      {"LengthOverLimit", with_length(100'000'001), "at most 100000000 bytes"},
      {"LengthTwoTo63", with_length(uint64_t{1} << 63), "at most 100000000 bytes"},
      {"LengthAllOnes", with_length(std::numeric_limits<uint64_t>::max()), "at most 100000000"},
      {"LeadingSpace", file_of(" {}"), "byte 8"},
      {"LeadingByteOrderMark", file_of("\xef\xbb\xbf{}"), "byte 8"},
      {"TopLevelArray", file_of("[]"), "byte 8"},
      {"TrailingNul", file_of(std::string("{}\0", 3)), "malformed JSON at byte 3"},
      {"TrailingText", file_of("{}x"), "malformed JSON at byte 3"},
      {"Truncated", file_of(R"({"t":{"dtype":"F3)"), "malformed JSON"},
      {"Comment", file_of("{/**/}"), "malformed JSON"},
      {"NotUtf8", file_of("{\"\xff\":{}}"), "malformed JSON"},
      {"LoneSurrogate", file_of(R"({"\ud800":{}})"), "malformed JSON"},
      {"Deep", file_of("{\"t\":" + std::string(100'000, '[')), "nested at most"},
      {"DuplicateTensor",
       file_of(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
               R"("t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       "\"t\" twice"},
      {"DuplicateField",
       file_of(R"({"t":{"dtype":"U8","dtype":"F64","shape":[0],"data_offsets":[0,0]}})"),
       "\"dtype\" twice"},
      {"DuplicateMetadata", file_of(R"({"__metadata__":{},"__metadata__":{}})"), "twice"},
      {"MetadataNumber", file_of(R"({"__metadata__":{"a":1}})"), "\"a\": expected a string"},
      {"MetadataArray", file_of(R"({"__metadata__":[]})"), "expected an object"},
  };
}

std::vector<MalformedCase> tensor_cases() {
  return {
      {"EntryIsNumber", file_of(R"({"t":1})"), "tensor \"t\": expected an object, found number"},
      {"NoDtype", file_of(R"({"t":{"shape":[0],"data_offsets":[0,0]}})"), "field 'dtype'"},
      {"NoShape", file_of(R"({"t":{"dtype":"U8","data_offsets":[0,0]}})"), "field 'shape'"},
      {"NoOffsets", file_of(R"({"t":{"dtype":"U8","shape":[0]}})"), "field 'data_offsets'"},
      {"ExtraField",
       file_of(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})"),
       "found \"x\""},
      {"DtypeUnknown", file_of(entry("\"F128\"", "[0]", "[0,0]")), "found \"F128\""},
      {"DtypeLowerCase", file_of(entry("\"f32\"", "[0]", "[0,0]")), "found \"f32\""},
      {"DtypeSubByte", file_of(entry("\"F4\"", "[0]", "[0,0]")), "found \"F4\""},
      {"DtypeNumber", file_of(entry("32", "[0]", "[0,0]")), "dtype: expected a string"},
      {"ShapeNumber", file_of(entry("\"U8\"", "4", "[0,4]"), 4), "shape: expected an array"},
      {"ShapeNegative", file_of(entry("\"U8\"", "[-1]", "[0,0]")), "found -1"},
      {"ShapeFloat", file_of(entry("\"U8\"", "[4.0]", "[0,4]"), 4), "found 4.0"},
      {"ShapeExponent", file_of(entry("\"U8\"", "[1e3]", "[0,4]"), 4), "found 1000.0"},
      {"ShapeTwoTo63", file_of(entry("\"U8\"", "[9223372036854775808]", "[0,4]"), 4), "2^63-1"},
      {"ShapeOverflow",
       file_of(entry("\"U8\"", "[4294967296,4294967296]", "[0,4]"), 4),
       "expected over 2^63 bytes"},
      {"ShapeOverflowByType",
       file_of(entry("\"F64\"", "[2305843009213693952]", "[0,0]")),
       "expected over 2^63 bytes"},
      {"ShapeZeroTimesHuge",
       file_of(entry("\"U8\"", "[0,4294967296,4294967296]", "[0,0]")),
       "expected over 2^63 bytes"},
      {"RankNine", file_of(entry("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), "at most 8"},
      {"OffsetsNegative", file_of(entry("\"U8\"", "[4]", "[-4,0]"), 4), "found -4"},
      {"OffsetsFloat", file_of(entry("\"U8\"", "[4]", "[0,4.5]"), 4), "found 4.5"},
      {"OffsetsOfThree", file_of(entry("\"U8\"", "[4]", "[0,4,4]"), 4), "two integers"},
      {"OffsetsBackwards", file_of(entry("\"U8\"", "[4]", "[4,0]"), 4), "found [4, 0]"},
      {"OffsetsBeyondFile", file_of(entry("\"U8\"", "[4]", "[0,4]"), 3), "it is truncated"},
      {"SizeTooSmall", file_of(entry("\"F32\"", "[4]", "[0,4]"), 4), "expected 16 bytes"},
      {"SizeTooLarge", file_of(entry("\"U8\"", "[2]", "[0,4]"), 4), "expected 2 bytes"},
      {"Overlap", file_of(two("[0,4]", "[2,6]"), 6), "tensor \"b\": expected its data at byte"},
      {"SameRange", file_of(two("[0,4]", "[0,4]"), 4), "expected its data at byte"},
      {"HoleAtStart", file_of(two("[1,5]", "[5,9]"), 9), "tensor \"a\": expected its data"},
      {"HoleBetween", file_of(two("[0,4]", "[5,9]"), 9), "tensor \"b\": expected its data"},
      {"TrailingData", file_of(two("[0,4]", "[4,8]"), 9), "expected the end of the file"},
      {"DataWithoutTensors", file_of("{}", 1), "expected the end of the file"},
      {"NameWithNewline", file_of(R"({"a\nb\u0000":1})"), R"(tensor "a\nb\x00")"},
      {"LongName", file_of("{\"" + std::string(1'000'000, 'n') + "\":1}"), "(1000000 bytes)"},
  };
}

class SafetensorsMalformedTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(SafetensorsMalformedTest, IsBadInputThatNamesTheFault) {
  const TempDir dir;
  const std::string path = dir.put("bad.safetensors", GetParam().file);
  expect_error([&] { SafetensorsFile::open(path); }, ErrorKind::kBadInput, GetParam().message);
  expect_error([&] { SafetensorsFile::open(path); }, ErrorKind::kBadInput, path + ": ");
}

INSTANTIATE_TEST_SUITE_P(Header,
                         SafetensorsMalformedTest,
                         testing::ValuesIn(header_cases()),
                         test::name_of_case);
INSTANTIATE_TEST_SUITE_P(Tensor,
                         SafetensorsMalformedTest,
                         testing::ValuesIn(tensor_cases()),
                         test::name_of_case);

TEST(SafetensorsTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  const Tensor tensor = Tensor::from({2}, std::array{1.0F, 2.0F});
  write_safetensors(dir.file("whole"), {{"t", tensor.view()}}, {{"k", "v"}});
  const std::string whole = test::bytes_of(dir.file("whole"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
    expect_error([&] { SafetensorsFile::open(path); }, ErrorKind::kBadInput, path);
  }
}

TEST(SafetensorsTest, HeaderMayEndInSpacesAndOrderDoesNotMatter) {
  const TempDir dir;
  const std::string path = dir.put("a", file_of(two("[4,8]", "[0,4]") + "   ", 8));
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_EQ(file.entries()[0].name, "b");
  EXPECT_EQ(file.entries()[1].name, "a");
}

}  // namespace
}  // namespace ditmoe::formats
