#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/inflate.h"
#include "ditmoe/formats/zip.h"

// Field positions and signatures: PKWARE APPNOTE.TXT 6.3, section 4.3.

namespace ditmoe::formats {
namespace {

using base::bad_input;

constexpr uint64_t kEndBytes = 22;
constexpr uint64_t kEnd64LocatorBytes = 20;
constexpr uint64_t kEnd64Bytes = 56;
constexpr uint64_t kCentralBytes = 46;
constexpr uint64_t kLocalBytes = 30;
constexpr uint64_t kMaxEntries = uint64_t{1} << 16;
constexpr uint32_t kSaturated = 0xFFFFFFFF;  // the value is in the zip64 field
constexpr uint16_t kZip64Field = 1;
constexpr uint16_t kFlagDescriptor = 1U << 3;
// Deflate effort, data descriptor, UTF-8 name: all that can be read without further ado.
constexpr uint16_t kHarmlessFlags = 0x0006 | kFlagDescriptor | 1U << 11;

// What a local or central header says about an entry.
struct Header {
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t crc = 0;
  uint64_t stored_bytes = 0;
  uint64_t bytes = 0;
  uint64_t local_offset = 0;  // central headers only
  std::string_view name;
};

// Where an entry stands, from its local header to the end of its data.
struct Place {
  uint64_t begin = 0;
  uint64_t end = 0;
  Header header;  // as the directory has it
};

struct Directory {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t entries = 0;
};

class DirectoryReader {
 public:
  DirectoryReader(std::span<const std::byte> archive, const std::string& path)
      : archive_(archive), path_(path) {}

  std::vector<ZipEntry> read();

 private:
  template <typename T>
  T load(uint64_t offset) const {
    return load_little<T>(take(offset, sizeof(T)).data());
  }

  // A range of the archive; all access goes through here.
  std::span<const std::byte> take(uint64_t offset, uint64_t bytes) const {
    if (offset > archive_.size() || bytes > archive_.size() - offset) {
      bad_input("{}: byte {}: expected {} more bytes of zip archive, found the end of the file",
                path_,
                offset,
                bytes);
    }
    return archive_.subspan(static_cast<size_t>(offset), static_cast<size_t>(bytes));
  }

  std::string_view take_text(uint64_t offset, uint64_t bytes) const {
    const auto range = take(offset, bytes);
    return {reinterpret_cast<const char*>(range.data()), range.size()};
  }

  void expect_signature(uint64_t offset, uint32_t expected, const char* what) const {
    if (const auto found = load<uint32_t>(offset); found != expected) {
      bad_input(
          "{}: byte {}: expected {} ({:08x}), found {:08x}", path_, offset, what, expected, found);
    }
  }

  Directory find_directory() const;
  Directory find_directory64(uint64_t locator) const;
  Header read_central(uint64_t& offset) const;
  Header read_local(uint64_t offset, uint64_t& data_offset) const;
  void read_zip64_field(uint64_t offset, uint64_t bytes, Header& header, bool central) const;
  void check_end32(uint64_t end32, const Directory& directory) const;
  ZipEntry make_entry(const Header& central, uint64_t directory_offset) const;
  bool is_descriptor(const Place& place, uint64_t bytes) const;
  void check_places(std::vector<Place> places, uint64_t directory_offset) const;

  std::span<const std::byte> archive_;
  const std::string& path_;
};

Directory DirectoryReader::find_directory() const {
  if (archive_.size() < kEndBytes) {
    bad_input("{}: expected a zip archive of at least {} bytes, found {}",
              path_,
              kEndBytes,
              archive_.size());
  }
  const uint64_t end = archive_.size() - kEndBytes;
  expect_signature(end, 0x06054B50, "the end of a zip archive without comment");
  if (load<uint16_t>(end + 20) != 0) bad_input("{}: byte {}: zip comment cut off", path_, end);
  if (end >= kEnd64LocatorBytes && load<uint32_t>(end - kEnd64LocatorBytes) == 0x07064B50) {
    const Directory directory = find_directory64(end - kEnd64LocatorBytes);
    check_end32(end, directory);
    return directory;
  }
  if (load<uint16_t>(end + 4) != 0 || load<uint16_t>(end + 6) != 0 ||
      load<uint16_t>(end + 8) != load<uint16_t>(end + 10)) {
    bad_input("{}: byte {}: expected a zip archive in one part", path_, end);
  }
  const Directory directory = {
      load<uint32_t>(end + 16), load<uint32_t>(end + 12), load<uint16_t>(end + 10)};
  if (directory.offset + directory.bytes != end) {
    bad_input("{}: byte {}: expected the zip directory to end here, found {} bytes at byte {}",
              path_,
              end,
              directory.bytes,
              directory.offset);
  }
  return directory;
}

Directory DirectoryReader::find_directory64(uint64_t locator) const {
  const auto end = load<uint64_t>(locator + 8);
  if (locator < kEnd64Bytes || end != locator - kEnd64Bytes) {
    bad_input("{}: byte {}: expected the zip64 end just before, found it at byte {}",
              path_,
              locator,
              end);
  }
  expect_signature(end, 0x06064B50, "the zip64 end");
  if (load<uint32_t>(locator + 4) != 0 || load<uint32_t>(locator + 16) > 1 ||
      load<uint32_t>(end + 16) != 0 || load<uint32_t>(end + 20) != 0 ||
      load<uint64_t>(end + 24) != load<uint64_t>(end + 32)) {
    bad_input("{}: byte {}: expected a zip archive in one part", path_, end);
  }
  const Directory directory = {
      load<uint64_t>(end + 48), load<uint64_t>(end + 40), load<uint64_t>(end + 32)};
  if (directory.offset > end || directory.bytes != end - directory.offset) {
    bad_input("{}: byte {}: expected the zip directory to end here, found {} bytes at byte {}",
              path_,
              end,
              directory.bytes,
              directory.offset);
  }
  return directory;
}

// The end without zip64 must leave a value to the one with it or repeat it: there are readers that
// look at this one first.
void DirectoryReader::check_end32(uint64_t end32, const Directory& directory) const {
  const auto agrees = [](uint64_t found, uint64_t saturated, uint64_t expected) {
    return found == saturated || found == expected;
  };
  if (!agrees(load<uint16_t>(end32 + 4), 0xFFFF, 0) ||
      !agrees(load<uint16_t>(end32 + 6), 0xFFFF, 0) ||
      !agrees(load<uint16_t>(end32 + 8), 0xFFFF, directory.entries) ||
      !agrees(load<uint16_t>(end32 + 10), 0xFFFF, directory.entries) ||
      !agrees(load<uint32_t>(end32 + 12), kSaturated, directory.bytes) ||
      !agrees(load<uint32_t>(end32 + 16), kSaturated, directory.offset)) {
    bad_input("{}: byte {}: expected the end of the zip archive to agree with its zip64 end",
              path_,
              end32);
  }
}

// The 64-bit values follow one another in the order of the saturated 32-bit ones they replace.
void DirectoryReader::read_zip64_field(uint64_t offset,
                                       uint64_t bytes,
                                       Header& header,
                                       bool central) const {
  std::vector<uint64_t*> saturated;
  if (header.bytes == kSaturated) saturated.push_back(&header.bytes);
  if (header.stored_bytes == kSaturated) saturated.push_back(&header.stored_bytes);
  if (central && header.local_offset == kSaturated) saturated.push_back(&header.local_offset);
  const uint64_t end = offset + bytes;
  while (!saturated.empty() && end - offset >= 4) {
    const auto id = load<uint16_t>(offset);
    const uint64_t field_bytes = load<uint16_t>(offset + 2);
    offset += 4;
    if (field_bytes > end - offset) break;
    if (id == kZip64Field && field_bytes >= 8 * saturated.size()) {
      for (uint64_t* value : std::exchange(saturated, {})) {
        *value = load<uint64_t>(offset);
        offset += 8;
      }
      return;
    }
    offset += field_bytes;
  }
  if (!saturated.empty()) {
    bad_input("{}: byte {}: expected a zip64 field with {} values, found none",
              path_,
              offset,
              saturated.size());
  }
}

Header DirectoryReader::read_central(uint64_t& offset) const {
  expect_signature(offset, 0x02014B50, "an entry of the zip directory");
  Header header;
  header.flags = load<uint16_t>(offset + 8);
  header.method = load<uint16_t>(offset + 10);
  header.crc = load<uint32_t>(offset + 16);
  header.stored_bytes = load<uint32_t>(offset + 20);
  header.bytes = load<uint32_t>(offset + 24);
  const uint64_t name_bytes = load<uint16_t>(offset + 28);
  const uint64_t extra_bytes = load<uint16_t>(offset + 30);
  if (load<uint16_t>(offset + 34) != 0) {
    bad_input("{}: byte {}: expected a zip archive in one part", path_, offset);
  }
  const uint64_t comment_bytes = load<uint16_t>(offset + 32);
  header.local_offset = load<uint32_t>(offset + 42);
  header.name = take_text(offset + kCentralBytes, name_bytes);
  const uint64_t extra = offset + kCentralBytes + name_bytes;
  take(extra, extra_bytes + comment_bytes);
  read_zip64_field(extra, extra_bytes, header, true);
  offset = extra + extra_bytes + comment_bytes;
  return header;
}

Header DirectoryReader::read_local(uint64_t offset, uint64_t& data_offset) const {
  expect_signature(offset, 0x04034B50, "the header of a zip entry");
  Header header;
  header.flags = load<uint16_t>(offset + 6);
  header.method = load<uint16_t>(offset + 8);
  header.crc = load<uint32_t>(offset + 14);
  header.stored_bytes = load<uint32_t>(offset + 18);
  header.bytes = load<uint32_t>(offset + 22);
  const uint64_t name_bytes = load<uint16_t>(offset + 26);
  const uint64_t extra_bytes = load<uint16_t>(offset + 28);
  header.name = take_text(offset + kLocalBytes, name_bytes);
  const uint64_t extra = offset + kLocalBytes + name_bytes;
  take(extra, extra_bytes);
  read_zip64_field(extra, extra_bytes, header, false);
  data_offset = extra + extra_bytes;
  return header;
}

ZipEntry DirectoryReader::make_entry(const Header& central, uint64_t directory_offset) const {
  const std::string place = fmt::format("{}: zip entry {}", path_, printable(central.name));
  if ((central.flags & ~kHarmlessFlags) != 0) {
    bad_input("{}: encrypted or otherwise special (flags {:04x})", place, central.flags);
  }
  if (central.method != 0 && central.method != 8) {
    bad_input("{}: expected it stored or deflated, found method {}", place, central.method);
  }
  uint64_t data_offset = 0;
  const Header local = read_local(central.local_offset, data_offset);
  // With a data descriptor the local header may leave sizes and checksum empty.
  const bool may_be_empty = (local.flags & kFlagDescriptor) != 0;
  const auto agrees = [may_be_empty](uint64_t found, uint64_t expected) {
    return found == expected || (may_be_empty && found == 0);
  };
  if (local.name != central.name || local.method != central.method ||
      local.flags != central.flags || !agrees(local.crc, central.crc) ||
      !agrees(local.bytes, central.bytes) || !agrees(local.stored_bytes, central.stored_bytes)) {
    bad_input("{}: expected its header at byte {} to agree with the zip directory",
              place,
              central.local_offset);
  }
  if (data_offset > directory_offset || central.stored_bytes > directory_offset - data_offset) {
    bad_input("{}: expected {} bytes at byte {}, before the zip directory at byte {}",
              place,
              central.stored_bytes,
              data_offset,
              directory_offset);
  }
  const bool deflated = central.method == 8;
  const bool plausible = deflated ? central.bytes / kMaxInflation <= central.stored_bytes
                                  : central.bytes == central.stored_bytes;
  if (!plausible) {
    bad_input("{}: {} bytes cannot come from {} in the archive",
              place,
              central.bytes,
              central.stored_bytes);
  }
  return {std::string(central.name),
          central.bytes,
          central.crc,
          deflated,
          take(data_offset, central.stored_bytes)};
}

// Whether what follows an entry repeats its checksum and its two sizes, of 4 or 8 bytes, behind a
// signature or without one.
bool DirectoryReader::is_descriptor(const Place& place, uint64_t bytes) const {
  const bool is_long = bytes == 20 || bytes == 24;
  const uint64_t known = is_long ? 20 : 12;
  if ((place.header.flags & kFlagDescriptor) == 0 || (bytes != known && bytes != known + 4)) {
    return false;
  }
  if (bytes == known + 4 && load<uint32_t>(place.end) != 0x08074B50) return false;
  const uint64_t crc = place.end + bytes - known;
  const auto size = [&](uint64_t index) {
    return is_long ? load<uint64_t>(crc + 4 + 8 * index) : load<uint32_t>(crc + 4 + 4 * index);
  };
  return load<uint32_t>(crc) == place.header.crc && size(0) == place.header.stored_bytes &&
         size(1) == place.header.bytes;
}

// Entries fill the archive up to its directory: what none of them covers could be another one, for
// readers that go by local headers.
void DirectoryReader::check_places(std::vector<Place> places, uint64_t directory_offset) const {
  std::ranges::sort(places, {}, &Place::begin);
  places.push_back({directory_offset, directory_offset, {}});
  Place last;
  for (const Place& place : places) {
    if (place.begin < last.end) {
      bad_input("{}: byte {}: expected zip entries that do not overlap", path_, place.begin);
    }
    const uint64_t gap = place.begin - last.end;
    if (gap != 0 && !is_descriptor(last, gap)) {
      bad_input("{}: byte {}: expected a zip entry or the directory here, found {} other bytes",
                path_,
                last.end,
                gap);
    }
    last = place;
  }
}

std::vector<ZipEntry> DirectoryReader::read() {
  const Directory directory = find_directory();
  if (directory.entries > directory.bytes / kCentralBytes) {
    bad_input("{}: expected {} zip entries, found room for {}",
              path_,
              directory.entries,
              directory.bytes / kCentralBytes);
  }
  if (directory.entries > kMaxEntries) {
    bad_input(
        "{}: expected at most {} zip entries, found {}", path_, kMaxEntries, directory.entries);
  }
  std::vector<ZipEntry> entries;
  std::vector<Place> places;
  std::set<std::string_view> names;
  uint64_t offset = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const Header header = read_central(offset);
    if (!names.insert(header.name).second) {
      bad_input("{}: zip entry {} occurs twice", path_, printable(header.name));
    }
    entries.push_back(make_entry(header, directory.offset));
    const auto end = entries.back().stored.data() + entries.back().stored.size();
    places.push_back({header.local_offset, static_cast<uint64_t>(end - archive_.data()), header});
  }
  if (offset != directory.offset + directory.bytes) {
    bad_input("{}: byte {}: expected the zip directory to end here, found {} more bytes",
              path_,
              offset,
              directory.offset + directory.bytes - offset);
  }
  check_places(std::move(places), directory.offset);
  return entries;
}

}  // namespace

std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> archive,
                                         const std::string& path) {
  return DirectoryReader(archive, path).read();
}

}  // namespace ditmoe::formats
