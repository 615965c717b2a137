#include "ditmoe/formats/npz.h"

#include <array>
#include <cstring>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "malformed.h"
#include "temp_dir.h"
#include "zip_bytes.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::ErrorKind;
using base::Tensor;
using test::expect_error;
using test::MalformedCase;
using test::TempDir;
using test::with_zip64_end;
using test::zip_of;
using test::ZipPart;

TEST(NpzTest, EveryTypeRoundTrips) {
  const TempDir dir;
  for (const DType dtype : {DType::kF64,
                            DType::kF32,
                            DType::kF16,
                            DType::kI64,
                            DType::kI32,
                            DType::kI16,
                            DType::kI8,
                            DType::kU8,
                            DType::kBool}) {
    Tensor tensor(dtype, {2, 3});
    for (size_t i = 0; i < tensor.bytes(); ++i) tensor.data()[i] = std::byte(i % 2);
    write_npz(dir.file("a.npz"), {{"t", tensor.view()}});
    const auto arrays = read_npz(dir.file("a.npz"));
    const Tensor& read = array(arrays, "t", "a.npz");
    EXPECT_EQ(read.dtype(), dtype);
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(read.view().data, tensor.view().data, tensor.bytes()), 0);
  }
}

TEST(NpzTest, ScalarVectorEmptyAndManyArraysRoundTrip) {
  const TempDir dir;
  const Tensor scalar = Tensor::from({}, std::array{1.0F});
  const Tensor vector = Tensor::from({2}, std::array{2.0F, 3.0F});
  const Tensor empty(DType::kI64, {3, 0});
  write_npz(dir.file("a.npz"),
            {{"scalar", scalar.view()}, {"grad/a.b", vector.view()}, {"empty", empty.view()}});
  const auto arrays = read_npz(dir.file("a.npz"));
  ASSERT_EQ(arrays.size(), 3U);
  EXPECT_TRUE(arrays.at("scalar").shape().empty());
  EXPECT_EQ(arrays.at("grad/a.b").as<float>()[1], 3.0F);
  EXPECT_EQ(arrays.at("empty").shape(), (base::Shape{3, 0}));
}

TEST(NpzTest, SameArraysGiveTheSameBytes) {
  const TempDir dir;
  const Tensor tensor(DType::kF32, {5});
  write_npz(dir.file("a"), {{"t", tensor.view()}});
  write_npz(dir.file("b"), {{"t", tensor.view()}});
  EXPECT_EQ(test::bytes_of(dir.file("a")), test::bytes_of(dir.file("b")));
}

TEST(NpzTest, NoArraysRoundTrip) {
  const TempDir dir;
  write_npz(dir.file("a"), {});
  EXPECT_TRUE(read_npz(dir.file("a")).empty());
}

TEST(NpzTest, ArrayNamesTheMissingOne) {
  expect_error([] { array({}, "x", "a.npz"); }, ErrorKind::kBadInput, "a.npz: expected array 'x'");
}

TEST(NpzTest, WriterRefusesBf16AndRepeatedNames) {
  const TempDir dir;
  const Tensor half(DType::kBF16, {1});
  const Tensor full(DType::kF32, {1});
  const std::string path = dir.file("a");
  expect_error([&] { write_npz(path, {{"t", half.view()}}); }, ErrorKind::kFailure, "BF16");
  expect_error(
      [&] {
        write_npz(path, {{"t", full.view()}, {"t", full.view()}});
      },
      ErrorKind::kFailure,
      "twice");
  EXPECT_EQ(dir.count(), 0U);
}

// A .npy file of this header and data.
std::string npy(const std::string& header, size_t data_bytes = 0, char version = 1) {
  std::string file = std::string("\x93NUMPY") + version + '\0';
  append_little(file, static_cast<uint16_t>(header.size()));
  if (version > 1) append_little(file, uint16_t{0});
  return file + header + std::string(data_bytes, '\x01');
}

std::string dict(const std::string& descr, const std::string& order, const std::string& shape) {
  return fmt::format("{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}\n", descr, order, shape);
}

const std::string kGood = npy(dict("'|u1'", "False", "(4,)"), 4);

TEST(NpzTest, DeflatedEntriesAndLaterVersionsAreRead) {
  const TempDir dir;
  const std::string second = npy(dict("'|u1'", "False", "(2, 2)"), 4, 2);
  const std::string third = npy(dict("\"|b1\"", "False", "()"), 1, 3);
  const std::string path = dir.put("a",
                                   zip_of({{.name = "a.npy", .content = kGood, .deflated = true},
                                           {.name = "b.npy", .content = second},
                                           {.name = "c.npy", .content = third, .flags = 0x808}}));
  const auto arrays = read_npz(path);
  EXPECT_EQ(arrays.at("a").as<uint8_t>()[3], 1);
  EXPECT_EQ(arrays.at("b").shape(), (base::Shape{2, 2}));
  EXPECT_TRUE(arrays.at("c").as<bool>()[0]);
}

TEST(NpzTest, Zip64IsRead) {
  const TempDir dir;
  const std::string zip = zip_of({{.name = "a.npy", .content = kGood, .zip64 = true},
                                  {.name = "b.npy", .content = kGood, .deflated = true}});
  const auto arrays = read_npz(dir.put("a", with_zip64_end(zip)));
  EXPECT_EQ(arrays.at("a").as<uint8_t>()[3], 1);
  EXPECT_EQ(arrays.at("b").size(), 4);
}

std::string one(const std::string& content) {
  return zip_of({{.name = "a.npy", .content = content}});
}

std::string with_header(const std::string& header, size_t data_bytes = 4) {
  return one(npy(header, data_bytes));
}

std::string with_dict(const std::string& descr,
                      const std::string& order,
                      const std::string& shape,
                      size_t data_bytes = 4) {
  return with_header(dict(descr, order, shape), data_bytes);
}

// Overwrites bytes of file at offset; negative offsets count from the end.
std::string patched(std::string file, int64_t offset, const std::string& bytes) {
  const int64_t start = offset < 0 ? static_cast<int64_t>(file.size()) + offset : offset;
  return file.replace(static_cast<size_t>(start), bytes.size(), bytes);
}

std::vector<MalformedCase> npy_cases() {
  const std::string type = "a little-endian type";
  return {
      {"NotNumpy", one("PK" + kGood), "byte 0: expected the magic bytes"},
      {"EmptyEntry", one(""), "expected 10 more bytes, found 0"},
      {"VersionZero", one(npy(dict("'|u1'", "False", "(4,)"), 4, 0)), "found 0.0"},
      {"VersionFour", one(npy(dict("'|u1'", "False", "(4,)"), 4, 4)), "found 4.0"},
      {"HeaderLengthZero", one(patched(kGood, 8, std::string(2, '\0'))), "expected '{'"},
      {"HeaderLengthBeyondEntry", one(patched(kGood, 8, "\x10\x27")), "more bytes, found"},
      {"HeaderLengthOverLimit", one(patched(kGood, 8, "\xff\xff")), "found 65535"},
      {"HeaderLengthFourGiB",
       one(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12)),
       "found 4294967295"},
      {"NotADict", with_header("[1, 2]\n"), "expected '{'"},
      {"Expression", with_header("__import__('os')\n"), "expected '{'"},
      {"ExpressionInside", with_dict("'|u1'", "False", "__import__('os')"), "expected a tuple"},
      {"DuplicateKey", with_header("{'descr': '|u1', 'descr': '|u1'}"), "no key twice"},
      {"UnknownKey", with_header("{'x': '|u1'}"), "no key but"},
      {"MissingKey", with_header("{'descr': '|u1'}"), "the keys descr"},
      {"TextAfterDict",
       with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}1"),
       "expected the end"},
      {"UnendedString", with_header("{'descr"), "a plain string"},
      {"EscapedString", with_dict("'\\x7cu1'", "False", "(4,)"), "a plain string"},
      {"TypeObject", with_dict("'|O'", "False", "(4,)"), type},
      {"TypeBigEndian", with_dict("'>f4'", "False", "(1,)"), type},
      {"TypeUnicode", with_dict("'<U1'", "False", "(1,)"), type},
      {"TypeStructured", with_dict("[('a', '<f4')]", "False", "(1,)"), type},
      {"TypeComplex", with_dict("'<c8'", "False", "(1,)"), type},
      {"FortranOrder", with_dict("'|u1'", "True", "(2, 2)"), "False (C order)"},
      {"ShapeNegative", with_dict("'|u1'", "False", "(-4,)"), "a dimension"},
      {"ShapeBool", with_dict("'|u1'", "False", "(True,)"), "a dimension"},
      {"ShapeLong", with_dict("'|u1'", "False", "(4L,)"), "expected ','"},
      {"ShapeFloat", with_dict("'|u1'", "False", "(4.0,)"), "expected ','"},
      {"ShapeNumber", with_dict("'|u1'", "False", "4"), "expected a tuple"},
      {"ShapeParentheses", with_dict("'|u1'", "False", "(4)"), "expected ','"},
      {"ShapeTwoTo63", with_dict("'|u1'", "False", "(9223372036854775808,)"), "a dimension"},
      {"ShapeHuge", with_dict("'<f8'", "False", "(65536, 65536)"), "expected 34359738368 bytes"},
      {"ShapeOverflow", with_dict("'|u1'", "False", "(4294967296, 4294967296)"), "over 2^63"},
      {"RankNine", with_dict("'|u1'", "False", "(1,1,1,1,1,1,1,1,1)", 1), "at most 8"},
      {"DataShort", with_dict("'|u1'", "False", "(4,)", 3), "expected 4 bytes of data"},
      {"DataLong", with_dict("'|u1'", "False", "(4,)", 5), "found 5"},
      {"BoolTwo", one(npy(dict("'|b1'", "False", "(1,)")) + '\x02'), "truth values"},
  };
}

// Where the directory of one(kGood) begins, from the end of the file.
const auto kCentral = int64_t{-22 - 46 - 5};

std::vector<MalformedCase> zip_cases() {
  const std::string zip = one(kGood);
  const std::string saturated(4, '\xff');
  return {
      {"Empty", "", "at least 22 bytes, found 0"},
      {"NoEnd", std::string(100, 'x'), "byte 78: expected the end of a zip archive"},
      {"Comment", patched(zip, -2, std::string("\x01\x00", 2)) + "c", "without comment"},
      {"CommentHoldingAnEnd",
       patched(zip, -2, std::string("\x16\x00", 2)) + zip.substr(zip.size() - 22),
       "expected"},
      {"CommentLengthLies", patched(zip, -2, "\x01"), "comment cut off"},
      {"Prefix", "x" + zip, "expected the zip directory to end here"},
      {"TwoParts", patched(zip, -18, "\x01"), "in one part"},
      {"CountTooSmall", patched(zip, -14, std::string("\x00\x00\x00", 3)), "found 51 more bytes"},
      {"CountTooLarge", patched(zip, -14, std::string("\x02\x00\x02\x00", 4)), "found room for 1"},
      {"DirectoryBeyondFile", patched(zip, -6, "\xff\xff"), "expected the zip directory"},
      {"CentralSignature", patched(zip, kCentral, "XX"), "an entry of the zip directory"},
      {"LocalSignature", patched(zip, 0, "XX"), "byte 0: expected the header of a zip entry"},
      {"NameBeyondFile", patched(zip, kCentral + 28, "\xff\xff"), "found the end of the file"},
      {"NamesDiffer",
       zip_of({{.name = "a.npy", .content = kGood, .local_name = "b.npy"}}),
       "to agree with the zip directory"},
      {"SizesDiffer", patched(zip, 22, "\x01"), "to agree with the zip directory"},
      {"NoZip64Field",
       patched(patched(zip, kCentral + 24, saturated), kCentral + 20, saturated),
       "expected a zip64 field with 2 values"},
      {"OffsetOutside", patched(zip, kCentral + 42, "\xf0\xf0"), "found the end of the file"},
      {"OffsetIntoDirectory",
       patched(zip, kCentral + 42, std::string(1, static_cast<char>(zip.size() - 73))),
       "the header of a zip entry"},
  };
}

std::vector<MalformedCase> zip_entry_cases() {
  const ZipPart good = {.name = "a.npy", .content = kGood};
  const std::string both =
      zip_of({{.name = "a.npy", .content = kGood}, {.name = "b.npy", .content = kGood}});
  return {
      {"DuplicateNames", zip_of({good, good}), "\"a.npy\" occurs twice"},
      {"SharedData", patched(both, -22 - 51 + 42, std::string(4, '\0')), "agree"},
      {"Encrypted", zip_of({{.name = "a.npy", .content = kGood, .flags = 1}}), "encrypted"},
      {"Patched", zip_of({{.name = "a.npy", .content = kGood, .flags = 0x20}}), "flags 0020"},
      {"StrongEncryption", zip_of({{.name = "a.npy", .content = kGood, .flags = 0x40}}), "0040"},
      {"Bzip2", zip_of({{.name = "a.npy", .content = kGood, .method = 12}}), "found method 12"},
      {"BadChecksum", zip_of({{.name = "a.npy", .content = kGood, .crc_error = 1}}), "checksum"},
      {"BadChecksumDeflated",
       zip_of({{.name = "a.npy", .content = kGood, .deflated = true, .crc_error = 1}}),
       "checksum"},
      {"StoredSizeLies",
       zip_of({{.name = "a.npy", .content = kGood, .claimed_bytes = 1000}}),
       "1000 bytes cannot come from"},
      {"Bomb",
       zip_of({{.name = "a.npy", .content = kGood, .deflated = true, .claimed_bytes = 1 << 30}}),
       "1073741824 bytes cannot come from"},
      {"DeflateTooShort",
       zip_of({{.name = "a.npy",
                .content = npy(dict("'|u1'", "False", "(9,)"), 4),
                .deflated = true,
                .claimed_bytes =
                    static_cast<int64_t>(npy(dict("'|u1'", "False", "(9,)"), 9).size())}}),
       "bytes, found"},
      {"DeflateTooLong",
       zip_of({{.name = "a.npy",
                .content = npy(dict("'|u1'", "False", "(4,)"), 5),
                .deflated = true,
                .claimed_bytes = static_cast<int64_t>(kGood.size())}}),
       "found more"},
      {"DeflateDamaged",
       zip_of({{.name = "a.npy", .content = "\x07" + kGood, .method = 8}}),
       "damaged deflate stream"},
      {"NotAnArray", zip_of({{.name = "../x.txt", .content = "x"}}), "ending in .npy"},
      {"NameWithNewline", zip_of({{.name = "a\n", .content = "x"}}), "\"a\\n\""},
  };
}

std::vector<MalformedCase> zip64_cases() {
  const std::string zip = one(kGood);
  constexpr uint64_t kMinusOne = ~uint64_t{0};
  return {
      {"PartsDiffer", with_zip64_end(zip, {.part = 1}), "in one part"},
      {"CountsDiffer", with_zip64_end(zip, {.entries = 1}), "in one part"},
      {"DirectoryShort", with_zip64_end(zip, {.bytes = kMinusOne}), "the zip directory to end"},
      {"OffsetBeforeFile", with_zip64_end(zip, {.offset = kMinusOne - 1000}), "directory to end"},
      {"OffsetWrapsAround",
       with_zip64_end(zip, {.bytes = kMinusOne - 200, .offset = 201}),
       "the zip directory to end"},
      {"EndElsewhere", with_zip64_end(zip, {.end_offset = 1}), "the zip64 end just before"},
      {"EndFarAway", with_zip64_end(zip, {.end_offset = kMinusOne}), "the zip64 end just before"},
      {"NoRoomForEnd", with_zip64_end(zip).substr(with_zip64_end(zip).size() - 42), "just before"},
  };
}

class NpzMalformedTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(NpzMalformedTest, IsBadInputThatNamesTheFault) {
  const TempDir dir;
  const std::string path = dir.put("bad.npz", GetParam().file);
  expect_error([&] { read_npz(path); }, ErrorKind::kBadInput, GetParam().message);
  expect_error([&] { read_npz(path); }, ErrorKind::kBadInput, path + ": ");
}

INSTANTIATE_TEST_SUITE_P(Npy, NpzMalformedTest, testing::ValuesIn(npy_cases()), test::name_of_case);
INSTANTIATE_TEST_SUITE_P(Zip64,
                         NpzMalformedTest,
                         testing::ValuesIn(zip64_cases()),
                         test::name_of_case);
INSTANTIATE_TEST_SUITE_P(ZipEntry,
                         NpzMalformedTest,
                         testing::ValuesIn(zip_entry_cases()),
                         test::name_of_case);
INSTANTIATE_TEST_SUITE_P(Zip, NpzMalformedTest, testing::ValuesIn(zip_cases()), test::name_of_case);

TEST(NpzTest, EveryTruncationIsBadInput) {
  const TempDir dir;
  const std::string whole = one(kGood);
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = dir.put("cut", std::string_view(whole).substr(0, size));
    expect_error([&] { read_npz(path); }, ErrorKind::kBadInput, path);
  }
}

TEST(NpzTest, NoFlippedBitGoesUnnoticedOrCrashes) {
  const TempDir dir;
  const std::string whole = zip_of({{.name = "a.npy", .content = kGood, .deflated = true}});
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    try {
      const auto arrays = read_npz(dir.put("damaged", damaged));
      // What a reader may ignore: versions, dates, attributes. The data must be right.
      for (const auto& [name, tensor] : arrays) {
        ASSERT_EQ(tensor.bytes(), 4U) << "bit " << bit;
        EXPECT_EQ(std::memcmp(tensor.view().data, "\x01\x01\x01\x01", 4), 0) << "bit " << bit;
      }
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
    }
  }
}

}  // namespace
}  // namespace ditmoe::formats
