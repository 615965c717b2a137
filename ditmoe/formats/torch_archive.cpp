#include "ditmoe/formats/torch_archive.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/zip.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;

constexpr std::string_view kPickle = "data.pkl";
constexpr std::string_view kStorages = "data/";
constexpr size_t kMaxNoteBytes = 64;  // of version and byteorder

// The records of an archive by name, without the folder they share.
using Records = std::map<std::string_view, const ZipEntry*>;

std::string_view text_of(const ZipEntry& entry) {
  return {reinterpret_cast<const char*>(entry.stored.data()), entry.stored.size()};
}

// The folder that holds data.pkl.
std::string_view find_root(const std::vector<ZipEntry>& entries, const std::string& path) {
  for (const ZipEntry& entry : entries) {
    const std::string_view name = entry.name;
    const size_t slash = name.find('/');
    if (slash != std::string_view::npos && name.substr(slash + 1) == kPickle) {
      return name.substr(0, slash + 1);
    }
  }
  bad_input("{}: expected a file of torch.save, found a zip archive without data.pkl in a folder",
            path);
}

// Whether a name leads nowhere but down.
bool is_plain(std::string_view name) {
  if (name.find_first_of(std::string_view("\\\0", 2)) != std::string_view::npos) return false;
  while (true) {
    const size_t slash = name.find('/');
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

Records find_records(const std::vector<ZipEntry>& entries, const std::string& path) {
  const std::string_view root = find_root(entries, path);
  Records records;
  for (const ZipEntry& entry : entries) {
    const std::string_view name = entry.name;
    const std::string place = fmt::format("{}: zip entry {}", path, printable(name));
    if (!is_plain(name)) bad_input("{}: expected a plain path", place);
    if (!name.starts_with(root)) {
      bad_input("{}: expected all entries in one folder, {}", place, printable(root));
    }
    if (entry.deflated) {
      bad_input("{}: expected it stored as torch.save does, found it compressed", place);
    }
    records.emplace(name.substr(root.size()), &entry);
  }
  return records;
}

// Before entries are judged one by one: those of TorchScript are compressed as well.
void check_not_script(const std::vector<ZipEntry>& entries, const std::string& path) {
  const size_t root = find_root(entries, path).size();
  const bool is_script = std::ranges::any_of(entries, [root](const ZipEntry& entry) {
    const std::string_view name =
        std::string_view(entry.name).substr(std::min(root, entry.name.size()));
    return name == "constants.pkl" || name.starts_with("code/");
  });
  if (is_script) {
    bad_input(
        "{}: expected a file of torch.save, found a TorchScript archive; save its "
        "state_dict() with torch.save",
        path);
  }
}

// The text of a short record without its line feed; nullopt where there is none.
std::optional<std::string_view> note(const Records& records,
                                     std::string_view name,
                                     const std::string& path) {
  const auto found = records.find(name);
  if (found == records.end()) return std::nullopt;
  std::string_view text = text_of(*found->second);
  if (text.size() > kMaxNoteBytes) {
    bad_input("{}: record {}: expected at most {} bytes, found {}",
              path,
              name,
              kMaxNoteBytes,
              text.size());
  }
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

void check_notes(const Records& records, const std::string& path) {
  const auto order = note(records, "byteorder", path);
  if (order && *order != "little") {
    bad_input("{}: record byteorder: expected little, found {}", path, printable(*order));
  }
  const auto version = note(records, "version", path);
  const bool is_number =
      !version || (!version->empty() &&
                   std::ranges::all_of(*version, [](char c) { return c >= '0' && c <= '9'; }));
  if (!is_number) {
    bad_input("{}: record version: expected a number, found {}", path, printable(*version));
  }
}

// The short records tell whether the archive was written with checksums at all.
bool has_checksums(const Records& records) {
  bool any = false;
  for (const char* name : {"byteorder", "version"}) {
    const auto found = records.find(name);
    if (found == records.end()) continue;
    if (has_right_checksum(*found->second)) return true;
    any = true;
  }
  return !any;
}

}  // namespace

TorchArchive read_torch_archive(const std::string& path, std::span<const std::byte> file) {
  const std::vector<ZipEntry> entries = read_zip_directory(file, path);
  check_not_script(entries, path);
  const Records records = find_records(entries, path);
  check_notes(records, path);
  const ZipEntry& pickle = *records.at(kPickle);
  const std::string place = fmt::format("{}: {}", path, kPickle);
  TorchArchive archive = {path, file, Pickle::parse(pickle.stored, place)};
  if (archive.pickle.size() != pickle.bytes) {
    bad_input("{}: byte {}: expected the end of the pickle, found {} more bytes",
              place,
              archive.pickle.size(),
              pickle.bytes - archive.pickle.size());
  }
  ZipEntry parsed = pickle;
  parsed.stored = archive.pickle.bytes();
  if (has_checksums(records) && !has_right_checksum(parsed)) {
    bad_input(
        "{}: expected checksum {:08x}, found another: the file is damaged", place, pickle.crc);
  }
  for (const auto& [name, entry] : records) {
    if (name.starts_with(kStorages)) {
      archive.storages.emplace(name.substr(kStorages.size()), entry->stored);
    }
  }
  return archive;
}

}  // namespace ditmoe::formats
