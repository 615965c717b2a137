#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ditmoe::formats {

// The folder a file stands in: "." for a bare name.
std::string folder_of(const std::string& path);

// A regular file mapped read-only; the mapping lives as long as the object or a copy.
class MappedFile {
 public:
  // Throws bad_input for a missing, unreadable or non-regular file, failure where the machine is at
  // fault (memory, open files, a failing disk).
  static MappedFile open(const std::string& path);

  // Bytes that are in memory already and outlive the object, for readers of files.
  static MappedFile over(std::span<const std::byte> bytes);

  std::span<const std::byte> bytes() const { return bytes_; }

  // Throws bad_input if something of bytes() that has been looked at was no longer there, because
  // the file was made shorter meanwhile: it read as zeros. For readers to call at their end, before
  // anyone relies on what they read.
  void expect_whole() const;

  // Whether part lies within bytes().
  bool contains(std::span<const std::byte> part) const;

  // Takes the pages that lie within part, of bytes(), out of this process's memory; they come back
  // from the system's cache or the disk when they are looked at again.
  void release(std::span<const std::byte> part) const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;  // none of bytes that are not ours
  std::span<const std::byte> bytes_;
};

// Writes a file that has no name, or a temporary one beside `path` where the file system cannot do
// that, and gives it its name on commit(); without commit it is gone. Errors throw failure naming
// the path.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);

  // For a file in a folder that will exist on commit(): written in the folder `staging` of the same
  // file system until then.
  AtomicFile(std::string path, const std::string& staging);

  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);

  // The stream, for libraries that want one (libpng).
  std::FILE* stream();

  // Flushes, syncs to disk and renames.
  void commit();

 private:
  std::string path_;
  std::string temporary_;  // empty while the file has no name
  std::FILE* file_ = nullptr;
};

// Throws bad_input unless a file of this name could be created or replaced, so that a wrong name
// costs no computation.
void expect_writable(const std::string& path);

// The whole file as text; bad_input if missing or longer than max_bytes.
std::string read_text(const std::string& path, size_t max_bytes = size_t{16} << 20);

// Appears whole or not at all.
void write_text(const std::string& path, std::string_view text);

}  // namespace ditmoe::formats
