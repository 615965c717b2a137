#include "ditmoe/formats/safetensors.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;
using base::Json;

// The header's text, its length checked against the file and the format's limit.
std::string_view header_text(std::span<const std::byte> file, const std::string& path) {
  if (file.size() < kSafetensorsPrefixBytes) {
    bad_input("{}: byte 0: expected 8 bytes of header length, found {}", path, file.size());
  }
  const auto length = load_little<uint64_t>(file.data());
  if (length > kMaxSafetensorsHeaderBytes) {
    bad_input("{}: byte 0: expected a header of at most {} bytes, found {}",
              path,
              kMaxSafetensorsHeaderBytes,
              length);
  }
  if (length > file.size() - kSafetensorsPrefixBytes) {
    bad_input("{}: byte 0: expected a header of {} bytes, found {} in the file",
              path,
              length,
              file.size() - kSafetensorsPrefixBytes);
  }
  const auto header = file.subspan(kSafetensorsPrefixBytes, static_cast<size_t>(length));
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (!text.starts_with('{')) bad_input("{}: byte 8: expected a header that begins with {{", path);
  return text;
}

// Reads one entry of the header; every fault names the tensor.
class EntryParser {
 public:
  EntryParser(const std::string& path, uint64_t data_begin, uint64_t data_bytes)
      : path_(path), data_begin_(data_begin), data_bytes_(data_bytes) {}

  SafetensorsEntry parse(const std::string& name, const Json& json) const {
    const std::string place = fmt::format("{}: tensor {}", path_, printable(name));
    if (!json.is_object()) bad_input("{}: expected an object, found {}", place, json.type_name());
    for (const auto& [key, value] : json.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        bad_input("{}: expected dtype, shape and data_offsets, found {}", place, printable(key));
      }
    }
    SafetensorsEntry entry;
    entry.name = name;
    entry.dtype = parse_dtype(field(json, "dtype", place), place);
    entry.shape = parse_shape(field(json, "shape", place), place);
    parse_offsets(field(json, "data_offsets", place), place, entry);
    return entry;
  }

 private:
  static const Json& field(const Json& json, const char* key, const std::string& place) {
    const auto found = json.find(key);
    if (found == json.end()) bad_input("{}: expected a field '{}', found none", place, key);
    return *found;
  }

  static base::DType parse_dtype(const Json& json, const std::string& place) {
    if (!json.is_string()) bad_input("{}: dtype: expected a string", place);
    const auto& name = json.get_ref<const std::string&>();
    const auto dtype = base::dtype_from_name(name);
    if (!dtype) {
      bad_input("{}: dtype: expected F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL, found {}",
                place,
                printable(name));
    }
    return *dtype;
  }

  static uint64_t natural(const Json& json, const std::string& place, const char* field) {
    constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!json.is_number_unsigned() || json.get<uint64_t>() > kLargest) {
      bad_input("{}: {}: expected integers from 0 to 2^63-1, found {}",
                place,
                field,
                json.is_number() ? json.dump() : json.type_name());
    }
    return json.get<uint64_t>();
  }

  static base::Shape parse_shape(const Json& json, const std::string& place) {
    if (!json.is_array()) bad_input("{}: shape: expected an array", place);
    if (json.size() > kMaxRank) {
      bad_input(
          "{}: shape: expected at most {} dimensions, found {}", place, kMaxRank, json.size());
    }
    base::Shape shape;
    for (const Json& dim : json) {
      shape.push_back(static_cast<int64_t>(natural(dim, place, "shape")));
    }
    return shape;
  }

  void parse_offsets(const Json& json, const std::string& place, SafetensorsEntry& entry) const {
    if (!json.is_array() || json.size() != 2) {
      bad_input("{}: data_offsets: expected an array of two integers", place);
    }
    const uint64_t begin = natural(json[0], place, "data_offsets");
    const uint64_t end = natural(json[1], place, "data_offsets");
    if (begin > end) {
      bad_input("{}: data_offsets: expected a range, found [{}, {}]", place, begin, end);
    }
    if (end > data_bytes_) {
      bad_input(
          "{}: its data end at byte {}, but the file has {} bytes: it is truncated, or the "
          "header is wrong",
          place,
          data_begin_ + end,
          data_begin_ + data_bytes_);
    }
    const auto expected = tensor_bytes(entry.shape, entry.dtype);
    if (!expected || *expected != end - begin) {
      bad_input("{}: expected {} bytes of data for {} {}, found {}",
                place,
                expected ? std::to_string(*expected) : "over 2^63",
                base::name_of(entry.dtype),
                base::to_string(entry.shape),
                end - begin);
    }
    entry.offset = data_begin_ + begin;
    entry.bytes = end - begin;
  }

  const std::string& path_;
  uint64_t data_begin_;
  uint64_t data_bytes_;
};

std::map<std::string, std::string> parse_metadata(const Json& json, const std::string& path) {
  if (!json.is_object()) bad_input("{}: {}: expected an object", path, kSafetensorsMetadata);
  std::map<std::string, std::string> metadata;
  size_t bytes = 0;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) {
      bad_input("{}: {}: {}: expected a string, found {}",
                path,
                kSafetensorsMetadata,
                printable(key),
                value.type_name());
    }
    const auto& text = value.get_ref<const std::string&>();
    bytes += key.size() + text.size();
    if (bytes > kMaxSafetensorsMetadataBytes) {
      bad_input("{}: {}: expected at most {} bytes, found more",
                path,
                kSafetensorsMetadata,
                kMaxSafetensorsMetadataBytes);
    }
    metadata.emplace(key, text);
  }
  return metadata;
}

// The data of the entries, in their order, must follow one another without hole or overlap from the
// header to the end of the file: nothing hides between tensors, nothing is shared.
void check_tiling(const std::vector<SafetensorsEntry>& entries,
                  uint64_t data_begin,
                  uint64_t file_bytes,
                  const std::string& path) {
  uint64_t end = data_begin;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != end) {
      bad_input("{}: tensor {}: expected its data at byte {}, after the tensor before, found {}",
                path,
                printable(entry.name),
                end,
                entry.offset);
    }
    end += entry.bytes;
  }
  if (end != file_bytes) {
    bad_input("{}: byte {}: expected the end of the file after the last tensor, found {} bytes",
              path,
              end,
              file_bytes - end);
  }
}

}  // namespace

struct SafetensorsFile::Contents {
  std::string path;
  MappedFile file;
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  std::unordered_map<std::string_view, size_t> by_name;  // views of the entries' names

  void read_header();
  void index_names();
};

// An entry at a time: the header of a hostile file, as one document, would take many times its
// size.
void SafetensorsFile::Contents::read_header() {
  const auto bytes = file.bytes();
  const std::string_view text = header_text(bytes, path);
  const uint64_t data_begin = kSafetensorsPrefixBytes + text.size();
  const EntryParser parser(path, data_begin, bytes.size() - data_begin);
  bool has_metadata = false;
  NameLengths lengths(path);
  const auto visit = [&](const std::string& name, const Json& json) {
    if (name == kSafetensorsMetadata) {
      if (std::exchange(has_metadata, true))
        bad_input("{}: {} occurs twice", path, kSafetensorsMetadata);
      metadata = parse_metadata(json, path);
      return;
    }
    if (entries.size() == kMaxSafetensorsTensors) {
      bad_input("{}: expected at most {} tensors, found more", path, kMaxSafetensorsTensors);
    }
    lengths.add(name);
    entries.push_back(parser.parse(name, json));
  };
  base::parse_json_members(text, path + ": header", visit);
  std::stable_sort(entries.begin(), entries.end(), [](const auto& left, const auto& right) {
    return std::pair(left.offset, left.bytes) < std::pair(right.offset, right.bytes);
  });
  index_names();
  check_tiling(entries, data_begin, bytes.size(), path);
}

void SafetensorsFile::Contents::index_names() {
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!by_name.emplace(entries[i].name, i).second) {
      bad_input("{}: tensor {} occurs twice", path, printable(entries[i].name));
    }
  }
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  return parse(MappedFile::open(path), path);
}

SafetensorsFile SafetensorsFile::in_memory(std::span<const std::byte> bytes,
                                           const std::string& path) {
  return parse(MappedFile::over(bytes), path);
}

SafetensorsFile SafetensorsFile::parse(MappedFile file, const std::string& path) {
  auto contents = std::make_shared<Contents>();
  contents->path = path;
  contents->file = std::move(file);
  contents->read_header();
  contents->file.expect_whole();
  SafetensorsFile result;
  result.contents_ = std::move(contents);
  return result;
}

const std::string& SafetensorsFile::path() const { return contents_->path; }

const std::vector<SafetensorsEntry>& SafetensorsFile::entries() const { return contents_->entries; }

const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return contents_->metadata;
}

bool SafetensorsFile::contains(const std::string& name) const {
  return contents_->by_name.contains(name);
}

const SafetensorsEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = contents_->by_name.find(name);
  if (found == contents_->by_name.end()) {
    bad_input("{}: expected a tensor {}, found none", path(), printable(name));
  }
  return contents_->entries[found->second];
}

base::TensorView SafetensorsFile::view(const std::string& name) const {
  const SafetensorsEntry& found = entry(name);
  return {found.dtype, found.shape, contents_->file.bytes().data() + found.offset};
}

void SafetensorsFile::expect_whole() const { contents_->file.expect_whole(); }

bool SafetensorsFile::is_mapped(std::span<const std::byte> part) const {
  return contents_->file.contains(part);
}

void SafetensorsFile::release(std::span<const std::byte> part) const {
  contents_->file.release(part);
}

}  // namespace ditmoe::formats
