#include <limits>

#include <fmt/format.h>

#include "cases.h"
#include "safetensors_bytes.h"

namespace ditmoe::formats::test {
namespace {

std::string with_length(uint64_t length) {
  std::string file;
  append_little(file, length);
  return file + "{}";
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(
      R"({{"t":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
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
       "tensor \"t\" occurs twice"},
      {"DuplicateField",
       file_of(R"({"t":{"dtype":"U8","dtype":"F64","shape":[0],"data_offsets":[0,0]}})"),
       "\"dtype\" twice"},
      {"DuplicateMetadata",
       file_of(R"({"__metadata__":{},"__metadata__":{}})"),
       "__metadata__ occurs twice"},
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
  };
}

std::vector<MalformedCase> more_tensor_cases() {
  const auto nested = [](const char* offsets_a, const char* offsets_b) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[8],"data_offsets":{}}},)"
                       R"("b":{{"dtype":"U8","shape":[2],"data_offsets":{}}}}})",
                       offsets_a,
                       offsets_b);
  };
  const std::string empty_inside = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                   R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})";
  return {
      {"EntryIsNull", file_of(R"({"t":null})"), "expected an object, found null"},
      {"EntryIsArray", file_of(R"({"t":["U8",[0],[0,0]]})"), "expected an object, found array"},
      {"EntryIsEmpty", file_of(R"({"t":{}})"), "field 'dtype'"},
      {"EntryOfEntries", file_of(R"({"t":{"u":{"dtype":"U8"}}})"), "found \"u\""},
      {"FieldInCapitals", file_of(R"({"t":{"DTYPE":"U8"}})"), "found \"DTYPE\""},
      {"DtypeNull", file_of(entry("null", "[0]", "[0,0]")), "dtype: expected a string"},
      {"DtypeEmpty", file_of(entry("\"\"", "[0]", "[0,0]")), "found \"\""},
      {"DtypeWithSpace", file_of(entry("\"F32 \"", "[0]", "[0,0]")), "found \"F32 \""},
      {"ShapeNull", file_of(entry("\"U8\"", "null", "[0,4]"), 4), "shape: expected an array"},
      {"ShapeOfStrings", file_of(entry("\"U8\"", "[\"4\"]", "[0,4]"), 4), "found string"},
      {"ShapeOfBools", file_of(entry("\"U8\"", "[true]", "[0,1]"), 1), "found boolean"},
      {"ShapeNested", file_of(entry("\"U8\"", "[[4]]", "[0,4]"), 4), "found array"},
      {"ShapeMinusZero", file_of(entry("\"U8\"", "[-0]", "[0,0]")), "shape: expected integers"},
      {"ShapeTwoTo64",
       file_of(entry("\"U8\"", "[18446744073709551616]", "[0,4]"), 4),
       "shape: expected integers"},
      {"ShapeOfManyDigits",
       [] { return file_of(entry("\"U8\"", "[" + std::string(5'000'000, '9') + "]", "[0,4]"), 4); },
       "expected a string or number of at most"},
      {"OffsetsNull", file_of(entry("\"U8\"", "[4]", "null"), 4), "two integers"},
      {"OffsetsOfOne", file_of(entry("\"U8\"", "[4]", "[4]"), 4), "two integers"},
      {"OffsetsOfStrings", file_of(entry("\"U8\"", "[4]", "[\"0\",\"4\"]"), 4), "found string"},
      {"OffsetsTwoTo64",
       file_of(entry("\"U8\"", "[4]", "[0,18446744073709551616]"), 4),
       "data_offsets: expected integers"},
      {"OffsetsWrapAround",
       file_of(entry("\"U8\"", "[4]", "[9223372036854775804,9223372036854775807]"), 4),
       "it is truncated"},
      {"Nested", file_of(nested("[0,8]", "[2,4]"), 8), "tensor \"b\": expected its data"},
      {"OverlapAtEnd", file_of(nested("[0,8]", "[6,8]"), 8), "tensor \"b\": expected its data"},
      {"EmptyInsideAnother", file_of(empty_inside, 4), "tensor \"b\": expected its data"},
      {"EmptyBeyondFile", file_of(entry("\"U8\"", "[0]", "[9,9]"), 4), "it is truncated"},
      {"DuplicateAfterEscape",
       file_of(R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
               R"("\u0074":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       "tensor \"t\" occurs twice"},
  };
}

std::string many_tensors(int count, const char* offsets, const char* shape) {
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    header += fmt::format(R"({}"{}":{{"dtype":"U8","shape":{},"data_offsets":{}}})",
                          i == 0 ? "" : ",",
                          i,
                          shape,
                          offsets);
  }
  return header + "}";
}

std::string with_metadata(const std::string& text) { return file_of("{\"__metadata__\":{" + text); }

std::string many_keys() {
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += fmt::format("\"{}\":\"\",", i);
  return text;
}

std::string long_texts() {
  std::string text;
  for (int i = 0; i < 6; ++i) text += fmt::format("\"{}\":\"{}\",", i, std::string(3'500'000, 'x'));
  return text + "\"a\":\"\"}}";
}

std::string tensors_of_long_names() {
  std::string header = "{";
  for (int i = 0; i < 9000; ++i) {
    header +=
        fmt::format("{}\"{:01000}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                    i == 0 ? "" : ",",
                    i);
  }
  return file_of(header + "}");
}

// Headers that ask for time or memory.
std::vector<MalformedCase> large_cases() {
  const std::string token = "expected a string or number of at most 4194304 bytes";
  const std::string memory = "of memory, found more";
  const auto tensors = [](int count, const char* offsets, const char* shape, size_t data) {
    return [=] { return file_of(many_tensors(count, offsets, shape), data); };
  };
  const auto named = [](size_t bytes) {
    return [=] { return file_of("{\"" + std::string(bytes, 'n') + "\":1}"); };
  };
  const auto listed = [](const char* item) {
    return [=] { return file_of("{\"t\":[" + repeated(item, 500'000)); };
  };
  return {
      {"TensorsSharingOneRange", tensors(100'000, "[0,4]", "[4]", 4), "at most 65536"},
      {"ManyEmptyTensors", tensors(100'000, "[0,0]", "[0]", 0), "at most 65536"},
      {"OneByteTensors", tensors(60'000, "[0,1]", "[1]", 60'000), "its data at byte"},
      {"MetadataOfManyKeys", [] { return with_metadata(many_keys()); }, memory},
      {"MetadataOfManyBytes", [] { return with_metadata(long_texts()); }, "at most 16777216"},
      {"MetadataString",
       [] { return with_metadata("\"a\":\"" + std::string(9'000'000, 'x')); },
       token},
      {"MetadataKey", [] { return with_metadata("\"" + std::string(9'000'000, 'x')); }, token},
      {"LongName", named(1'000'000), "(1000000 bytes)"},
      {"NameOfFourMillionBytes", named(4'000'000), "(4000000 bytes)"},
      {"NameOfTenMillionBytes", named(10'000'000), token},
      {"NamesOfManyBytes", tensors_of_long_names, "of at most 8388608 bytes together"},
      {"NullsInOneEntry", listed("null,"), memory},
      {"EmptyObjectsInOneEntry", listed("{},"), memory},
      {"KeysInOneEntry", [] { return file_of("{\"t\":{" + many_keys()); }, memory},
      {"Spaces", [] { return file_of("{" + std::string(20'000'000, ' ') + "}"); }, token},
      {"DeepObjects", [] { return file_of(repeated("{\"a\":", 100'000)); }, "at most 32 deep"},
      {"Backslashes",
       [] { return file_of("{\"" + std::string(3'000'000, '\\')); },
       "malformed JSON"},
  };
}

std::vector<MalformedCase> other_format_cases() {
  return {
      {"GitLfsPointer",
       "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
       "at most 100000000 bytes"},
      {"HtmlPage", "<!DOCTYPE html><html></html>", "at most 100000000 bytes"},
      {"ZipArchive", std::string("PK\x03\x04\x14\x00\x00\x00\x00\x00", 10), "byte 0: expected"},
      {"Gguf", std::string("GGUF\x03\x00\x00\x00", 8), "byte 0: expected a header of"},
      {"OnlyJson", R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", "byte 0: expected"},
      {"BigEndianLength", std::string("\0\0\0\0\0\0\0\x02{}", 10), "at most 100000000 bytes"},
      {"Zeros", std::string(1000, '\0'), "byte 8: expected a header that begins with {"},
  };
}

}  // namespace

std::vector<MalformedCase> safetensors_cases() {
  return joined(
      header_cases(), tensor_cases(), more_tensor_cases(), large_cases(), other_format_cases());
}

}  // namespace ditmoe::formats::test
