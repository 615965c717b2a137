#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::formats {

// A file begins with the length of its header; this key of it holds what is no tensor.
constexpr size_t kSafetensorsPrefixBytes = 8;
constexpr std::string_view kSafetensorsMetadata = "__metadata__";

// Limits of what is read, and therefore of what is written.
inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsTensors = size_t{1} << 16;
inline constexpr size_t kMaxSafetensorsMetadataBytes = size_t{16} << 20;  // keys and values

// One entry of a safetensors header.
using SafetensorsEntry = TensorEntry;

// A safetensors file mapped read-only. Opening reads and checks the header only.
// Format: u64-LE header length, JSON header, data (github.com/huggingface/safetensors).
// Hostile files: the limits above, offsets must tile the data exactly, no duplicate names, sizes
// are compared with the file's before anything is allocated.
class SafetensorsFile {
 public:
  // Throws bad_input "<path>: ..." with the tensor or byte offset at fault.
  static SafetensorsFile open(const std::string& path);

  // The same of a file's bytes, which must outlive the object; path names them in messages.
  static SafetensorsFile in_memory(std::span<const std::byte> bytes, const std::string& path);

  const std::string& path() const;

  // In the order of the data in the file.
  const std::vector<SafetensorsEntry>& entries() const;

  // The `__metadata__` object; empty where there is none.
  const std::map<std::string, std::string>& metadata() const;

  bool contains(const std::string& name) const;

  // Throws bad_input for an unknown name.
  const SafetensorsEntry& entry(const std::string& name) const;

  // The tensor's bytes inside the mapping; lives as long as this object or a copy of it.
  // Data may be unaligned for its type in foreign files. Throws bad_input for an unknown name.
  base::TensorView view(const std::string& name) const;

  // See MappedFile::expect_whole; call it when values of views have been read, before using them.
  void expect_whole() const;

  // Whether part lies within the file's mapping.
  bool is_mapped(std::span<const std::byte> part) const;

  // See MappedFile::release; part of a view.
  void release(std::span<const std::byte> part) const;

 private:
  static SafetensorsFile parse(MappedFile file, const std::string& path);

  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

// Writes a file whose tensors' values come one after another, so that they need not all be in
// memory. Appears under its name with commit, whole, or not at all.
class SafetensorsWriter {
 public:
  // tensors: names, types and shapes in the order of the data; their offsets are not looked at. The
  // header is padded with spaces so that the data begin at a multiple of data_alignment bytes.
  // Throws failure on an I/O error or a name used twice, bad_input for what is beyond the limits of
  // SafetensorsFile.
  SafetensorsWriter(const std::string& path,
                    const std::vector<SafetensorsEntry>& tensors,
                    const std::map<std::string, std::string>& metadata,
                    size_t data_alignment = 64);

  // staging: as of AtomicFile, for a file in a folder that will exist on commit.
  SafetensorsWriter(const std::string& path,
                    const std::vector<SafetensorsEntry>& tensors,
                    const std::map<std::string, std::string>& metadata,
                    size_t data_alignment,
                    const std::string& staging);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next bytes of the data.
  void write(std::span<const std::byte> bytes);

  // All bytes must have been written.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

using NamedTensors = std::vector<std::pair<std::string, base::TensorView>>;

// Writes the tensors, larger element types first and otherwise in the order given, after a header
// padded with spaces to a multiple of 64 bytes: every tensor is aligned for its type. Appears under
// `path` whole or not at all. Throws failure on an I/O error or a name used twice.
void write_safetensors(const std::string& path,
                       const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace ditmoe::formats
