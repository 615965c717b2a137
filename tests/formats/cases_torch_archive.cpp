#include <functional>

#include "cases.h"
#include "torch_bytes.h"

// Files that are not quite what torch.save writes.

namespace ditmoe::formats::test {
namespace {

// The parts of a sound file, changed.
std::string changed(const std::function<void(std::vector<ZipPart>&)>& change) {
  std::vector<ZipPart> parts =
      torch_parts(pickled_dict({{"w", PickledTensor{}.opcodes()}}), counted_floats(2));
  change(parts);
  return zip_of(parts);
}

using Parts = std::vector<ZipPart>;

std::vector<MalformedCase> archive_cases() {
  return {
      MalformedCase{"NoPickle",
                    changed([](Parts& p) { p.erase(p.begin()); }),
                    "found a zip archive without data.pkl"},
      MalformedCase{"PickleInNoFolder",
                    changed([](Parts& p) { p[0].name = "data.pkl"; }),
                    "found a zip archive without data.pkl in a folder"},
      MalformedCase{"NpzFile", zip_of({{"x.npy", "abc"}}), "found a zip archive without data.pkl"},
      MalformedCase{"TwoRoots",
                    changed([](Parts& p) { p[2].name = "b/data/0"; }),
                    "\"b/data/0\": expected all entries in one folder, \"a/\""},
      MalformedCase{"TorchScript",
                    changed([](Parts& p) {
                      p.push_back({"a/constants.pkl", "."});
                    }),
                    "found a TorchScript archive"},
      MalformedCase{"TorchScriptCode",
                    changed([](Parts& p) {
                      p.push_back({"a/code/x.py", ""});
                    }),
                    "found a TorchScript archive"},
      MalformedCase{"TorchScriptCompressed",
                    changed([](Parts& p) {
                      p.push_back({.name = "a/code/x.py", .content = "def", .deflated = true});
                    }),
                    "found a TorchScript archive"},
      MalformedCase{"BigEndian",
                    changed([](Parts& p) { p[1].content = "big"; }),
                    "record byteorder: expected little, found \"big\""},
      MalformedCase{"ByteorderLong",
                    changed([](Parts& p) { p[1].content = std::string(100, 'l'); }),
                    "record byteorder: expected at most 64 bytes, found 100"},
      MalformedCase{"VersionText",
                    changed([](Parts& p) { p[3].content = "three"; }),
                    "record version: expected a number, found \"three\""},
      MalformedCase{"VersionEmpty",
                    changed([](Parts& p) { p[3].content = ""; }),
                    "record version: expected a number"},
      MalformedCase{"PickleCompressed",
                    changed([](Parts& p) { p[0].deflated = true; }),
                    "\"a/data.pkl\": expected it stored"},
      MalformedCase{"StorageCompressed",
                    changed([](Parts& p) { p[2].deflated = true; }),
                    "\"a/data/0\": expected it stored"},
      MalformedCase{"StorageWithBzip2",
                    changed([](Parts& p) { p[2].method = 12; }),
                    "expected it stored or deflated, found method 12"},
      MalformedCase{
          "StorageWithZstd", changed([](Parts& p) { p[2].method = 93; }), "found method 93"},
      MalformedCase{"Encrypted",
                    changed([](Parts& p) { p[0].flags = 1; }),
                    "encrypted or otherwise special (flags 0001)"},
      MalformedCase{"Patched", changed([](Parts& p) { p[0].flags = 0x20; }), "(flags 0020)"},
      MalformedCase{
          "StronglyEncrypted", changed([](Parts& p) { p[0].flags = 0x40; }), "(flags 0040)"},
      MalformedCase{"PickleChecksum",
                    changed([](Parts& p) { p[0].crc_error = 1; }),
                    "data.pkl: expected checksum"},
      MalformedCase{"NamesDiffer",
                    changed([](Parts& p) { p[0].local_name = "a/evil.pkl"; }),
                    "agree with the zip directory"},
      MalformedCase{
          "NameTwice", changed([](Parts& p) { p.push_back(p[0]); }), "\"a/data.pkl\" occurs twice"},
      MalformedCase{"NameAbsolute",
                    changed([](Parts& p) {
                      p.push_back({"/etc/passwd", ""});
                    }),
                    "\"/etc/passwd\": expected a plain path"},
      MalformedCase{"NameUpwards",
                    changed([](Parts& p) {
                      p.push_back({"a/../b", ""});
                    }),
                    "\"a/../b\": expected a plain path"},
      MalformedCase{"NameWithBackslash",
                    changed([](Parts& p) {
                      p.push_back({"a/b\\c", ""});
                    }),
                    "expected a plain path"},
      MalformedCase{"NameWithZero",
                    changed([](Parts& p) {
                      p.push_back({raw("a/b\0c"), ""});
                    }),
                    "expected a plain path"},
      MalformedCase{"NameOfAFolder",
                    changed([](Parts& p) {
                      p.push_back({"a/data/", ""});
                    }),
                    "\"a/data/\": expected a plain path"},
      MalformedCase{"BytesAfterStop",
                    changed([](Parts& p) { p[0].content += "N"; }),
                    "expected the end of the pickle, found 1 more bytes"},
      MalformedCase{"SecondPickle",
                    changed([](Parts& p) { p[0].content += p[0].content; }),
                    "expected the end of the pickle"},
      MalformedCase{"PickleEmpty",
                    changed([](Parts& p) { p[0].content = ""; }),
                    "data.pkl: byte 0: expected 1 more bytes"},
      MalformedCase{"PickleWithoutStop",
                    changed([](Parts& p) { p[0].content.pop_back(); }),
                    "more bytes of pickle, found 0"},
      MalformedCase{"StorageShort",
                    changed([](Parts& p) { p[2].content.pop_back(); }),
                    "expected a storage of 2 elements F32, found 7 bytes"},
      MalformedCase{
          "StorageLong", changed([](Parts& p) { p[2].content += "abcd"; }), "found 12 bytes"},
      MalformedCase{"StorageGone",
                    changed([](Parts& p) { p.erase(p.begin() + 2); }),
                    "expected a storage \"0\", found none"},
      MalformedCase{"StorageClaimsMore",
                    changed([](Parts& p) { p[2].claimed_bytes = 1 << 30; }),
                    "cannot come from"},
      MalformedCase{"Cut", changed([](Parts&) {}).substr(0, 300), "expected"},
      MalformedCase{"OnlyTheMagic", "PK\x03\x04", "expected a zip archive of at least 22 bytes"}};
}

std::vector<MalformedCase> legacy_cases() {
  return {
      MalformedCase{"Protocol",
                    LegacyFile{.protocol = "K\x01"}.bytes(),
                    "byte 15: expected protocol 1001, found the integer 1"},
      MalformedCase{"ProtocolText",
                    LegacyFile{.protocol = pickled_text("1001")}.bytes(),
                    "expected protocol 1001, found the text"},
      MalformedCase{"MachineUnknown",
                    LegacyFile{.machine = "N"}.bytes(),
                    "byte 21: expected a dict about the machine, found None"},
      MalformedCase{"MachineBigEndian",
                    LegacyFile{.machine = pickled_dict({{"little_endian", "\x89"}})}.bytes(),
                    "expected little_endian True, found False"},
      MalformedCase{"CheckpointOfOtherKind",
                    LegacyFile{.checkpoint = "]", .keys = "]", .storage = ""}.bytes().substr(0, 54),
                    "expected a checkpoint of named weights, found a list"},
      MalformedCase{"CheckpointDamaged",
                    LegacyFile{.checkpoint = "u"}.bytes(),
                    "pickle at byte 46: byte 2: expected a mark"},
      MalformedCase{"ViewOfAStorage",
                    LegacyFile{.view = "(NNt"}.bytes(),
                    "tensor \"w\": pickle at byte 46, byte 96: expected no view of a storage, "
                    "found a tuple of 2"},
      MalformedCase{"KeysNoList",
                    LegacyFile{.keys = "N"}.bytes(),
                    "expected the list of the storages, found None"},
      MalformedCase{"KeyANumber",
                    LegacyFile{.keys = "]K\x01"
                                       "a"}
                        .bytes(),
                    "expected names of storages, found the integer 1"},
      MalformedCase{"KeyUnknown",
                    LegacyFile{.keys = "]" + pickled_text("../1") + "a"}.bytes(),
                    "expected storages of the checkpoint, found \"../1\""},
      MalformedCase{
          "KeyTwice",
          LegacyFile{.keys = "](" + pickled_text("0") + pickled_text("0") + "e",
                     .storage = counted_floats(2) + raw("\x02\0\0\0\0\0\0\0") + counted_floats(2)}
              .bytes(),
          "expected distinct storages, found \"0\" twice"},
      MalformedCase{"KeyMissing",
                    LegacyFile{.keys = "]"}.bytes(),
                    "expected the end of the file, found 16 more bytes"},
      MalformedCase{"StorageGone", LegacyFile{.keys = "]"}.bytes().substr(0, 171), "expected"},
      MalformedCase{"StorageShort",
                    LegacyFile{.storage = "1234567"}.bytes(),
                    "expected a storage of 2 elements of 4 bytes, found 7 bytes in the file"},
      MalformedCase{"StorageLong",
                    LegacyFile{.storage = counted_floats(3)}.bytes(),
                    "expected the end of the file, found 4 more bytes"},
      MalformedCase{"StorageSmall",
                    LegacyFile{.elements = 1, .storage = "1234"}.bytes(),
                    "expected a storage of 2 elements F32, found 4 bytes"},
      MalformedCase{"StorageHuge",
                    LegacyFile{.elements = UINT64_MAX}.bytes(),
                    "expected a storage of 18446744073709551615 elements"},
      MalformedCase{"StorageOverflows",
                    LegacyFile{.elements = (uint64_t{1} << 62) + 2}.bytes(),
                    "expected a storage of 4611686018427387906 elements"},
      MalformedCase{"OnlyTheNumber",
                    LegacyFile{}.bytes().substr(0, 15),
                    "pickle at byte 15: byte 0: expected 1 more bytes"}};
}

std::vector<MalformedCase> other_file_cases() {
  return {
      MalformedCase{"Pickle", raw("\x80\x04N."), "a pickle that torch.save did not write"},
      MalformedCase{
          "EmptyZip", raw("PK\x05\x06") + std::string(18, '\0'), "begins with 50 4b 05 06"},
      MalformedCase{"PrefixedZip", "#!/bin/sh\n" + changed([](Parts&) {}), "begins with 23 21"}};
}

}  // namespace

std::vector<MalformedCase> torch_archive_cases() {
  return joined(prefixed("Archives", archive_cases()),
                prefixed("Legacy", legacy_cases()),
                prefixed("OtherFiles", other_file_cases()));
}

}  // namespace ditmoe::formats::test
