#include <algorithm>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::formats {
namespace {

using base::Json;

constexpr size_t kDataAlignment = 64;

// JSON of a string; the format wants UTF-8.
std::string json_of(const std::string& text, const std::string& path) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    base::failure("{}: cannot be written: {} is not UTF-8", path, printable(text));
  }
}

// The header; sets data_bytes to what has to follow it.
std::string header_of(const std::vector<SafetensorsEntry>& tensors,
                      const std::map<std::string, std::string>& metadata,
                      size_t data_alignment,
                      const std::string& path,
                      uint64_t& data_bytes) {
  std::string header = "{";
  const auto comma = [&header] { return header.size() == 1 || header.back() == '{' ? "" : ","; };
  if (!metadata.empty()) {
    header += fmt::format("\"{}\":{{", kSafetensorsMetadata);
    for (const auto& [key, value] : metadata) {
      header += fmt::format("{}{}:{}", comma(), json_of(key, path), json_of(value, path));
    }
    header += '}';
  }
  uint64_t offset = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
    DITMOE_ASSERT(bytes.has_value());
    const uint64_t end = offset + *bytes;
    std::string dims = base::to_string(tensor.shape);
    std::erase(dims, ' ');
    header += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                          comma(),
                          json_of(tensor.name, path),
                          base::name_of(tensor.dtype),
                          dims,
                          offset,
                          end);
    offset = end;
  }
  header += '}';
  data_bytes = offset;
  const size_t unpadded = kSafetensorsPrefixBytes + header.size();
  header.append((data_alignment - unpadded % data_alignment) % data_alignment, ' ');
  return header;
}

// What is written can be read again.
void check_limits(size_t tensors,
                  const std::map<std::string, std::string>& metadata,
                  const std::string& path) {
  if (tensors > kMaxSafetensorsTensors) {
    base::bad_input(
        "{}: expected at most {} tensors, found {}", path, kMaxSafetensorsTensors, tensors);
  }
  size_t bytes = 0;
  for (const auto& [key, value] : metadata) bytes += key.size() + value.size();
  if (bytes > kMaxSafetensorsMetadataBytes) {
    base::bad_input("{}: {}: expected at most {} bytes, found {}",
                    path,
                    kSafetensorsMetadata,
                    kMaxSafetensorsMetadataBytes,
                    bytes);
  }
}

}  // namespace

struct SafetensorsWriter::State {
  State(const std::string& path, const std::string& staging) : file(path, staging) {}

  AtomicFile file;
  uint64_t left = 0;  // bytes still to come
};

SafetensorsWriter::SafetensorsWriter(const std::string& path,
                                     const std::vector<SafetensorsEntry>& tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     size_t data_alignment)
    : SafetensorsWriter(path, tensors, metadata, data_alignment, folder_of(path)) {}

SafetensorsWriter::SafetensorsWriter(const std::string& path,
                                     const std::vector<SafetensorsEntry>& tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     size_t data_alignment,
                                     const std::string& staging) {
  check_limits(tensors.size(), metadata, path);
  std::unordered_set<std::string> names = {std::string(kSafetensorsMetadata)};
  NameLengths lengths(path);
  for (const SafetensorsEntry& tensor : tensors) {
    lengths.add(tensor.name);
    if (!names.insert(tensor.name).second) {
      base::failure("{}: cannot be written: {} is taken or reserved", path, printable(tensor.name));
    }
  }
  uint64_t data_bytes = 0;
  const std::string header = header_of(tensors, metadata, data_alignment, path, data_bytes);
  if (header.size() > kMaxSafetensorsHeaderBytes) {
    base::bad_input("{}: expected a header of at most {} bytes, found {}",
                    path,
                    kMaxSafetensorsHeaderBytes,
                    header.size());
  }
  std::string prefix;
  append_little(prefix, static_cast<uint64_t>(header.size()));
  state_ = std::make_unique<State>(path, staging);
  state_->file.write(prefix);
  state_->file.write(header);
  state_->left = data_bytes;
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  DITMOE_ASSERT(bytes.size() <= state_->left);
  state_->file.write(bytes);
  state_->left -= bytes.size();
}

void SafetensorsWriter::commit() {
  DITMOE_ASSERT(state_->left == 0);
  state_->file.commit();
}

void write_safetensors(const std::string& path,
                       const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  NamedTensors ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& left, const auto& right) {
    return base::size_of(left.second.dtype) > base::size_of(right.second.dtype);
  });
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : ordered) {
    entries.push_back({name, tensor.dtype, tensor.shape, 0, 0});
  }
  SafetensorsWriter writer(path, entries, metadata, kDataAlignment);
  for (const auto& [name, tensor] : ordered) writer.write({tensor.data, tensor.bytes()});
  writer.commit();
}

}  // namespace ditmoe::formats
