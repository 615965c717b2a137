#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ditmoe/formats/file.h"

namespace ditmoe::formats {

class Inflater;

// One file in a zip archive.
struct ZipEntry {
  std::string name;
  uint64_t bytes = 0;  // of its content
  uint32_t crc = 0;
  bool deflated = false;
  std::span<const std::byte> stored;  // its bytes in the archive, compressed if deflated
};

// The entries of an archive held in memory, in the order of the central directory.
// Strict, so that there is one way only to read a file: no comment, nothing between the directory
// and the end, local headers that agree with the directory, distinct names, entries that do not
// overlap, no encryption, no split archives; zip64 is read. Throws bad_input with the byte offset.
std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> archive,
                                         const std::string& path);

// Whether the content of a stored entry has the checksum that the archive says.
bool has_right_checksum(const ZipEntry& stored);

// Reads an entry's content from its beginning to its end.
class ZipEntryReader {
 public:
  // entry must outlive the object. place names the entry in messages.
  ZipEntryReader(const ZipEntry& entry, std::string place);
  ~ZipEntryReader();

  // Fills out. Throws bad_input for damage, or if fewer bytes are left.
  void read(std::span<std::byte> out);

  uint64_t remaining() const { return entry_.bytes - position_; }

  // Checks that the content is used up and its checksum right.
  void finish();

 private:
  const ZipEntry& entry_;
  std::string place_;
  uint64_t position_ = 0;
  uint32_t crc_ = 0;
  std::unique_ptr<Inflater> inflater_;
};

// Writes an archive of stored entries, zip64 where sizes ask for it, always the same bytes for the
// same content.
class ZipWriter {
 public:
  explicit ZipWriter(AtomicFile& file) : file_(file) {}

  // The content is the concatenation of the parts.
  void add(const std::string& name, const std::vector<std::span<const std::byte>>& parts);

  // Writes the central directory. The file is left for the caller to commit.
  void finish();

 private:
  void write(std::string_view text);

  AtomicFile& file_;
  uint64_t position_ = 0;
  uint64_t entries_ = 0;
  std::string directory_;
};

}  // namespace ditmoe::formats
