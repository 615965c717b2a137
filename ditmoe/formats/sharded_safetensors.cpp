#include "ditmoe/formats/sharded_safetensors.h"

#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;
using base::Json;

constexpr const char* kMapKey = "weight_map";
constexpr size_t kMaxShards = 1000;

// Files of an index and the tensors it gives each.
using WeightMap = std::map<std::string, std::set<std::string>>;

class ShardedTensors final : public TensorFile {
 public:
  ShardedTensors(const std::string& path,
                 std::vector<TensorEntry> entries,
                 std::map<std::string, std::string> metadata,
                 std::vector<SafetensorsFile> shards,
                 std::vector<size_t> shard_of_entry)
      : TensorFile(path, std::move(entries), std::move(metadata)),
        shards_(std::move(shards)),
        shard_of_entry_(std::move(shard_of_entry)) {}

  FileFormat format() const override { return FileFormat::kShardedSafetensors; }

  base::TensorView view(const std::string& name) const override {
    return shards_[shard_of_entry_[index_of(name)]].view(name);
  }

  void expect_whole() const override {
    for (const SafetensorsFile& shard : shards_) shard.expect_whole();
  }

  void release(std::span<const std::byte> part) const override {
    for (const SafetensorsFile& shard : shards_) {
      if (shard.is_mapped(part)) shard.release(part);
    }
  }

 private:
  std::vector<SafetensorsFile> shards_;
  std::vector<size_t> shard_of_entry_;
};

// A file beside the index: a name from an untrusted file must not lead elsewhere.
void check_shard_name(const std::string& name, const std::string& path) {
  const bool plain = name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
                     !name.starts_with('.') && name.ends_with(".safetensors") &&
                     base::escaped(name) == name;  // it is shown in messages
  if (!plain) {
    bad_input("{}: {}: expected names of safetensors files beside the index, found {}",
              path,
              kMapKey,
              printable(name));
  }
}

WeightMap read_index(const std::string& path) {
  const Json json = base::parse_json(read_text(path, kMaxIndexBytes), path);
  const auto map = json.find(kMapKey);
  if (map == json.end() || !map->is_object() || map->empty()) {
    bad_input("{}: expected the index of a sharded safetensors file, found no object '{}' in it",
              path,
              kMapKey);
  }
  WeightMap tensors_by_file;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      bad_input("{}: {}: tensor {}: expected the name of a file, found {}",
                path,
                kMapKey,
                printable(tensor),
                file.type_name());
    }
    const auto& name = file.get_ref<const std::string&>();
    check_shard_name(name, path);
    tensors_by_file[name].insert(tensor);
  }
  if (tensors_by_file.size() > kMaxShards) {
    bad_input("{}: {}: expected at most {} files, found {}",
              path,
              kMapKey,
              kMaxShards,
              tensors_by_file.size());
  }
  return tensors_by_file;
}

// A file holds exactly the tensors that the index says.
void check_tensors(const SafetensorsFile& shard,
                   const std::set<std::string>& expected,
                   const std::string& path) {
  for (const std::string& name : expected) {
    if (!shard.contains(name)) {
      bad_input("{}: tensor {}: expected it in {}, found none",
                path,
                printable(name),
                printable(shard.path()));
    }
  }
  for (const TensorEntry& entry : shard.entries()) {
    if (!expected.contains(entry.name)) {
      bad_input("{}: tensor {}: found in {}, where the index does not expect it",
                path,
                printable(entry.name),
                printable(shard.path()));
    }
  }
}

void merge_metadata(const SafetensorsFile& shard,
                    const std::string& path,
                    std::map<std::string, std::string>& metadata) {
  for (const auto& [key, value] : shard.metadata()) {
    if (metadata.emplace(key, value).first->second == value) continue;
    bad_input("{}: metadata {}: expected one value, found another in {}",
              path,
              printable(key),
              printable(shard.path()));
  }
}

}  // namespace

std::shared_ptr<const TensorFile> open_sharded_safetensors(const std::string& index_path) {
  const WeightMap tensors_by_file = read_index(index_path);
  const std::filesystem::path folder = std::filesystem::path(index_path).parent_path();
  std::vector<SafetensorsFile> shards;
  std::vector<TensorEntry> entries;
  std::vector<size_t> shard_of_entry;
  std::map<std::string, std::string> metadata;
  for (const auto& [file, tensors] : tensors_by_file) {
    const SafetensorsFile shard = SafetensorsFile::open((folder / file).string());
    check_tensors(shard, tensors, index_path);
    merge_metadata(shard, index_path, metadata);
    for (const TensorEntry& entry : shard.entries()) {
      entries.push_back(entry);
      shard_of_entry.push_back(shards.size());
    }
    shards.push_back(shard);
  }
  return std::make_shared<ShardedTensors>(index_path,
                                          std::move(entries),
                                          std::move(metadata),
                                          std::move(shards),
                                          std::move(shard_of_entry));
}

std::vector<std::string> shards_of(const std::string& index_path) {
  const std::filesystem::path folder = std::filesystem::path(index_path).parent_path();
  std::vector<std::string> shards;
  for (const auto& [file, tensors] : read_index(index_path)) {
    shards.push_back((folder / file).string());
  }
  return shards;
}

}  // namespace ditmoe::formats
