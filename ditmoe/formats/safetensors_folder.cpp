#include "ditmoe/formats/safetensors_folder.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/folder.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/formats/sharded_safetensors.h"

namespace ditmoe::formats {
namespace {

struct Shard {
  std::string name;
  std::vector<TensorEntry> tensors;
  uint64_t bytes = 0;
};

uint64_t bytes_of(const TensorEntry& tensor) {
  const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
  DITMOE_ASSERT(bytes.has_value());
  return *bytes;
}

std::vector<Shard> plan(const std::string& stem,
                        const std::vector<TensorEntry>& tensors,
                        uint64_t shard_bytes) {
  std::vector<Shard> shards(1);
  for (const TensorEntry& tensor : tensors) {
    const uint64_t bytes = bytes_of(tensor);
    const uint64_t used = shards.back().bytes;
    const bool fits = used == 0 || (used <= shard_bytes && bytes <= shard_bytes - used);
    if (!fits) shards.emplace_back();
    shards.back().tensors.push_back(tensor);
    shards.back().bytes += bytes;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string part =
        shards.size() == 1 ? "" : fmt::format("-{:05}-of-{:05}", i + 1, shards.size());
    shards[i].name = stem + part + ".safetensors";
  }
  return shards;
}

// The index of several files; "" where there is one. Throws bad_input for one that
// open_sharded_safetensors would not read.
std::string index_of(const std::vector<Shard>& shards, const std::string& folder) {
  if (shards.size() == 1) return "";
  uint64_t bytes = 0;
  base::Json map = base::Json::object();
  for (const Shard& shard : shards) {
    bytes += shard.bytes;
    for (const TensorEntry& tensor : shard.tensors) map[tensor.name] = shard.name;
  }
  const base::Json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
  std::string text = index.dump(2) + "\n";
  if (text.size() > kMaxIndexBytes) {
    base::bad_input("{}: expected tensors whose index takes at most {} bytes, found {} of {} bytes",
                    folder,
                    kMaxIndexBytes,
                    map.size(),
                    text.size());
  }
  return text;
}

}  // namespace

void expect_new_folder(const std::string& path) {
  const std::string folder = without_slashes(path);
  expect_usable_name(folder);
  std::error_code ignored;  // of a name that cannot be looked at, which expect_writable explains
  if (std::filesystem::exists(std::filesystem::symlink_status(folder, ignored))) {
    base::bad_input(
        "{}: exists already; expected the name of a new folder, or of a file *.safetensors",
        folder);
  }
  expect_writable(folder);
}

struct SafetensorsFolderWriter::State {
  std::string folder;
  std::string temporary;
  std::vector<Shard> shards;
  std::map<std::string, std::string> metadata;
  std::vector<std::unique_ptr<SafetensorsWriter>> writers;
  uint64_t left = 0;  // bytes that the last writer still wants
  std::vector<std::pair<std::string, std::string>> texts;

  // Files have no folder until all are written, so that a process that is killed leaves none.
  void begin_shard() {
    const Shard& shard = shards[writers.size()];
    writers.push_back(std::make_unique<SafetensorsWriter>(
        temporary + "/" + shard.name, shard.tensors, metadata, 64, folder_of(folder)));
    left = shard.bytes;
  }
};

SafetensorsFolderWriter::SafetensorsFolderWriter(const std::string& folder,
                                                 const std::string& stem,
                                                 const std::vector<TensorEntry>& tensors,
                                                 const std::map<std::string, std::string>& metadata,
                                                 uint64_t shard_bytes)
    : state_(std::make_unique<State>()) {
  state_->folder = without_slashes(folder);
  state_->shards = plan(stem, tensors, shard_bytes);
  state_->metadata = metadata;
  const std::string index = index_of(state_->shards, state_->folder);
  if (!index.empty()) state_->texts.emplace_back(stem + ".safetensors.index.json", index);
  // A name that is free and can be made; it is made for good when all is written.
  state_->temporary = make_folder_beside(state_->folder);
  std::error_code ignored;
  std::filesystem::remove(state_->temporary, ignored);
  state_->begin_shard();
}

SafetensorsFolderWriter::~SafetensorsFolderWriter() = default;

void SafetensorsFolderWriter::add_text(const std::string& name, std::string text) {
  state_->texts.emplace_back(name, std::move(text));
}

void SafetensorsFolderWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  while (state_->left == 0) {
    DITMOE_ASSERT(state_->writers.size() < state_->shards.size());
    state_->begin_shard();
  }
  DITMOE_ASSERT(bytes.size() <= state_->left);
  state_->writers.back()->write(bytes);
  state_->left -= bytes.size();
}

void SafetensorsFolderWriter::commit() {
  DITMOE_ASSERT(state_->left == 0 && state_->writers.size() == state_->shards.size());
  std::error_code error;
  if (!std::filesystem::create_directory(state_->temporary, error)) {
    base::failure(
        "{}: cannot be made: {}", state_->temporary, error ? error.message() : "exists already");
  }
  try {
    for (const auto& writer : state_->writers) writer->commit();
    for (const auto& [name, text] : state_->texts) {
      write_text(state_->temporary + "/" + name, text);
    }
    rename_folder(state_->temporary, state_->folder);
  } catch (...) {
    std::filesystem::remove_all(state_->temporary, error);
    throw;
  }
}

}  // namespace ditmoe::formats
