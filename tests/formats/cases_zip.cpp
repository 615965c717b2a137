#include <fmt/format.h>

#include "cases.h"
#include "idx_bytes.h"
#include "npy_bytes.h"
#include "zip_bytes.h"

namespace ditmoe::formats::test {
namespace {

const std::string kGood = npy(dict("'|u1'", "False", "(4,)"), 4);

std::string one(const std::string& content) {
  return zip_of({{.name = "a.npy", .content = content}});
}

// Where the directory of one(kGood) begins, from the end of the file.
const auto kCentral = int64_t{-22 - 46 - 5};

std::vector<MalformedCase> directory_cases() {
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
      {"TwoArchives", zip + zip, "the zip directory to end here"},
      {"EndCountsDiffer", patched(zip, -14, "\x02"), "in one part"},
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

// The entry's deflate stream lacks its end.
std::string deflate_cut() {
  const std::string stream = deflate_raw(kGood);
  return zip_of({{.name = "a.npy",
                  .content = stream.substr(0, stream.size() - 4),
                  .method = 8,
                  .claimed_bytes = static_cast<int64_t>(kGood.size())}});
}

// An archive of two entries, and a third before, between or behind them that its directory lacks.
std::string hidden_entry(size_t place) {
  constexpr size_t kEndBytes = 22;
  constexpr size_t kEntryBytes = 51;
  std::vector<ZipPart> parts = {{.name = "a.npy", .content = kGood},
                                {.name = "b.npy", .content = kGood}};
  parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(place),
               {.name = "c.npy", .content = kGood});
  std::string zip = zip_of(parts);
  zip.erase(zip.size() - kEndBytes - (3 - place) * kEntryBytes, kEntryBytes);
  zip = patched(zip, -14, std::string("\2\0\2", 3));
  return patched(zip, -10, std::string(1, static_cast<char>(2 * kEntryBytes)));
}

// An entry whose sizes follow its data, in so many bytes.
std::string one_described(size_t bytes = 16) {
  constexpr size_t kTail = 22 + 51;
  std::string zip = zip_of({{.name = "a.npy", .content = kGood, .flags = 8}});
  std::string offset;
  append_little(offset, static_cast<uint32_t>(zip.size() - kTail + bytes));
  zip.insert(zip.size() - kTail, bytes, 'd');
  return patched(zip, -6, offset);
}

// The second of two entries stands in the data of the first.
std::string overlapping() {
  const std::string inner =
      zip_of({{.name = "b.npy", .content = kGood}}).substr(0, 35 + kGood.size());
  const std::string zip =
      zip_of({{.name = "a.npy", .content = inner}, {.name = "b.npy", .content = kGood}});
  return patched(zip, -22 - 51 + 42, std::string("\x23\0\0\0", 4));
}

std::string zip64_field(const std::vector<uint64_t>& values) {
  std::string out;
  append_little(out, uint16_t{1});
  append_little(out, static_cast<uint16_t>(8 * values.size()));
  for (const uint64_t value : values) append_little(out, value);
  return out;
}

// An archive of one entry with this extra field in its directory, where the 32-bit values at these
// places are saturated.
std::string with_field(std::string zip,
                       const std::string& field,
                       const std::vector<int64_t>& saturated) {
  for (const int64_t at : saturated) zip = patched(zip, kCentral + at, std::string(4, '\xff'));
  std::string length;
  append_little(length, static_cast<uint16_t>(field.size()));
  std::string bytes;
  append_little(bytes, static_cast<uint32_t>(51 + field.size()));
  zip = patched(patched(zip, kCentral + 30, length), -10, bytes);
  return zip.insert(zip.size() - 22, field);
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
      {"NameEmpty", zip_of({{.name = "", .content = kGood}}), "ending in .npy"},
      {"NameWithNul",
       zip_of({{.name = std::string("a.npy\0", 6), .content = kGood}}),
       "\"a.npy\\x00\""},
      {"Folder", zip_of({{.name = "a/", .content = ""}}), "\"a/\": expected a name ending in .npy"},
      {"NameAbsolute", zip_of({{.name = "/etc/passwd", .content = "x"}}), "\"/etc/passwd\""},
      {"NameWithBackslashes", zip_of({{.name = "..\\x", .content = "x"}}), "\"..\\\\x\""},
      {"NamesDifferInCase",
       zip_of({{.name = "a.npy", .content = kGood, .local_name = "A.npy"}}),
       "to agree with the zip directory"},
      {"LocalNameEmpty", patched(zip_of({good}), 26, std::string(2, '\0')), "to agree"},
      {"Deflate64", zip_of({{.name = "a.npy", .content = kGood, .method = 9}}), "found method 9"},
      {"Lzma", zip_of({{.name = "a.npy", .content = kGood, .method = 14}}), "found method 14"},
      {"Zstd", zip_of({{.name = "a.npy", .content = kGood, .method = 93}}), "found method 93"},
      {"Aes", zip_of({{.name = "a.npy", .content = kGood, .method = 99}}), "found method 99"},
      {"MethodsDiffer", patched(zip_of({good}), 8, "\x08"), "to agree with the zip directory"},
      {"FlagsDiffer", patched(zip_of({good}), 6, "\x02"), "to agree with the zip directory"},
      {"ChecksumsDiffer", patched(zip_of({good}), 14, "xxxx"), "to agree with the zip directory"},
      {"StoredDamaged", patched(zip_of({good}), -22 - 51 - 1, "x"), "expected checksum"},
      {"NestedArchive", zip_of({{.name = "a.npy", .content = zip_of({good})}}), "magic bytes"},
      {"DeflateEmpty",
       zip_of({{.name = "a.npy", .content = "", .method = 8, .claimed_bytes = 5}}),
       "expected 10 more bytes, found 5"},
      {"DeflateCut", deflate_cut(), "expected more data"},
      {"HiddenFirst", hidden_entry(0), "byte 0: expected a zip entry or the directory here"},
      {"HiddenBetween", hidden_entry(1), "expected a zip entry or the directory here, found 1"},
      {"HiddenLast", hidden_entry(2), "expected a zip entry or the directory here, found 1"},
      {"DescriptorOfOtherSizes",
       patched(one_described(), 18, "xxxxxxxx"),
       "to agree with the zip directory"},
      {"DescriptorOfOtherChecksum",
       patched(one_described(), 14, "xxxx"),
       "to agree with the zip directory"},
      {"Overlapping", overlapping(), "byte 35: expected zip entries that do not overlap"},
      {"InAnotherPart", patched(zip_of({good}), kCentral + 34, "\x01"), "in one part"},
      {"DescriptorLies", one_described(), "found 16 other bytes"},
      {"DescriptorTooLong", one_described(17), "found 17 other bytes"},
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
      {"EndsDiffer", patched(with_zip64_end(zip), -6, "xx"), "to agree with its zip64 end"},
      {"EndsDifferInCount", patched(with_zip64_end(zip), -14, "xx"), "to agree"},
      {"FieldAllOnes",
       with_field(zip, zip64_field({kMinusOne, kMinusOne}), {20, 24}),
       "to agree with the zip directory"},
      {"FieldOffsetAllOnes",
       with_field(zip, zip64_field({kMinusOne}), {42}),
       "byte 18446744073709551615: expected 4 more bytes"},
      {"FieldOfOneValue",
       with_field(zip, zip64_field({kGood.size()}), {20, 24}),
       "a zip64 field with 2 values"},
      {"FieldBeyondExtra",
       with_field(zip, zip64_field({1, 1}).substr(0, 12), {20, 24}),
       "a zip64 field with 2 values"},
      {"NoRoomForEnd", with_zip64_end(zip).substr(with_zip64_end(zip).size() - 42), "just before"},
  };
}

std::string many_entries() {
  std::vector<ZipPart> parts;
  for (int i = 0; i < 70'000; ++i) parts.push_back({.name = fmt::format("{}", i), .content = ""});
  return with_zip64_end(zip_of(parts), {.more_entries = 65536});
}

// Entries of the directory that all lead to the same header.
std::string one_header_for_all() {
  constexpr size_t kEntryBytes = 51;
  const std::string zip = one(kGood);
  const size_t offset = zip.size() - 22 - kEntryBytes;
  const std::string directory = repeated(zip.substr(offset, kEntryBytes), 60'000);
  std::string end;
  append_little(end, uint32_t{0x06054B50});
  append_little(end, uint32_t{0});
  append_little(end, uint16_t{60'000});
  append_little(end, uint16_t{60'000});
  append_little(end, static_cast<uint32_t>(directory.size()));
  append_little(end, static_cast<uint32_t>(offset));
  append_little(end, uint16_t{0});
  return zip.substr(0, offset) + directory + end;
}

std::vector<MalformedCase> large_cases() {
  const std::string zip = one(kGood);
  return {
      {"ManyEntries", many_entries, "at most 65536 zip entries, found 70000"},
      {"OneHeaderForAll", one_header_for_all, "occurs twice"},
      {"OnlyAnEnd", zip.substr(zip.size() - 22), "the zip directory to end here"},
      {"GzipFile", gzip(kGood) + std::string(10, '\0'), "the end of a zip archive"},
      {"BareNpy", kGood, "the end of a zip archive"},
  };
}

}  // namespace

std::vector<MalformedCase> zip_cases() {
  return joined(directory_cases(), zip_entry_cases(), zip64_cases(), large_cases());
}

}  // namespace ditmoe::formats::test
