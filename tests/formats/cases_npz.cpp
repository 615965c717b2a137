#include <fmt/format.h>

#include "cases.h"
#include "npy_bytes.h"
#include "zip_bytes.h"

namespace ditmoe::formats::test {
namespace {

const std::string kGood = npy(dict("'|u1'", "False", "(4,)"), 4);

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

// A file of these many bytes of zeros, deflated; its header claims the given ones.
std::string deflated(size_t data_bytes, size_t claimed_bytes, uint32_t crc_error = 0) {
  const std::string header = dict("'|u1'", "False", fmt::format("({},)", claimed_bytes));
  const std::string content = npy(header, data_bytes);
  return zip_of(
      {{.name = "a.npy",
        .content = content,
        .deflated = true,
        .claimed_bytes = static_cast<int64_t>(content.size() + claimed_bytes - data_bytes),
        .crc_error = crc_error}});
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

// Arrays of zeros, each small enough to be believed, and one whose checksum is wrong.
std::string many_claims() {
  constexpr size_t kEach = 8'000'000;
  std::vector<ZipPart> parts;
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}) {
    parts.push_back({.name = std::string(name) + ".npy",
                     .content = npy(dict("'|u1'", "False", "(8000000,)"), kEach),
                     .deflated = true});
  }
  parts.back().crc_error = 1;
  return zip_of(parts);
}

std::vector<MalformedCase> more_npy_cases() {
  const std::string type = "a little-endian type";
  constexpr size_t kLarge = 100'000'000;
  return {
      {"ManyClaims", many_claims, "expected checksum"},
      {"TypeBigEndianInt", with_dict("'>i8'", "False", "()", 8), type},
      {"TypeNative", with_dict("'=f4'", "False", "()"), type},
      {"TypeWithoutOrder", with_dict("'f4'", "False", "()"), type},
      {"TypeEmpty", with_dict("''", "False", "()"), type},
      {"TypeVoid", with_dict("'|V4'", "False", "()"), type},
      {"TypeBytes", with_dict("'|S4'", "False", "()"), type},
      {"TypeDate", with_dict("'<M8[ns]'", "False", "()", 8), type},
      {"TypeUnsigned16", with_dict("'<u2'", "False", "()", 2), type},
      {"TypeLongDouble", with_dict("'<f16'", "False", "()", 16), type},
      {"TypeNone", with_dict("None", "False", "()"), "a string"},
      {"TypeTuple", with_dict("('<f4', (2,))", "False", "()", 8), "a string"},
      {"OrderNumber", with_dict("'|u1'", "0", "(4,)"), "False (C order)"},
      {"OrderText", with_dict("'|u1'", "'False'", "(4,)"), "False (C order)"},
      {"ShapeList", with_dict("'|u1'", "False", "[4]"), "expected a tuple"},
      {"ShapeNested", with_dict("'|u1'", "False", "((4,),)"), "a dimension"},
      {"ShapeHex", with_dict("'|u1'", "False", "(0x4,)"), "expected ','"},
      {"ShapePlus", with_dict("'|u1'", "False", "(+4,)"), "a dimension"},
      {"ShapeProduct", with_dict("'|u1'", "False", "(2*2,)"), "expected ','"},
      {"ShapeName", with_dict("'|u1'", "False", "(N,)"), "a dimension"},
      {"ShapeTwoCommas", with_dict("'|u1'", "False", "(4,,)"), "a dimension"},
      {"ShapeUnended",
       with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4, "),
       "a di"},
      {"ShapeOfManyDigits",
       with_dict("'|u1'", "False", "(" + std::string(9000, '9')),
       "a dimension"},
      {"ShapeZeroTimesHuge",
       with_dict("'|u1'", "False", "(0, 4294967296, 4294967296)", 0),
       "over 2^63"},
      {"ScalarWithoutData", with_dict("'<f4'", "False", "()", 0), "expected 4 bytes of data"},
      {"KeyNotText", with_header("{1: 2}"), "a string"},
      {"KeysDuplicateShape",
       with_header("{'shape': (4,), 'shape': (4,), 'descr': '|u1', 'fortran_order': False}"),
       "no key twice"},
      {"Lambda", with_header("(lambda: 1)()\n"), "expected '{'"},
      {"Pickle", one("\x80\x04K\x01."), "more bytes, found"},
      {"BackslashZero", with_header(std::string("{'descr': '|u1\0', ", 18)), type},
      {"Spaces", with_header(std::string(9999, ' ')), "expected '{'"},
      {"Tabs", with_header("\t{}"), "expected '{'"},
      {"HeaderCutInDeflate",
       zip_of({{.name = "a.npy", .content = kGood.substr(0, 20), .deflated = true}}),
       "more bytes, found"},
      {"BombClaimed", [] { return deflated(200'000, kLarge); }, "cannot come from"},
      {"BombTooShort", [] { return deflated(kLarge - 1, kLarge); }, "bytes, found"},
      {"BombBadChecksum", [] { return deflated(kLarge, kLarge, 1); }, "checksum"},
      {"BombTooLong", [] { return deflated(kLarge + 1, kLarge); }, "found more"},
  };
}

}  // namespace

std::vector<MalformedCase> npz_cases() { return joined(npy_cases(), more_npy_cases()); }

}  // namespace ditmoe::formats::test
