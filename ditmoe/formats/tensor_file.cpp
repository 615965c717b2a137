#include "ditmoe/formats/tensor_file.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/formats/sharded_safetensors.h"
#include "ditmoe/formats/torch_file.h"
#include "ditmoe/formats/torch_legacy.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;

// What a folder may hold, the most usual first.
constexpr std::array<const char*, 7> kFolderFiles = {
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",  // what diffusers wrote before safetensors
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.bin",
};

class SafetensorsTensors final : public TensorFile {
 public:
  explicit SafetensorsTensors(SafetensorsFile file)
      : TensorFile(file.path(), file.entries(), file.metadata()), file_(std::move(file)) {}

  FileFormat format() const override { return FileFormat::kSafetensors; }

  base::TensorView view(const std::string& name) const override { return file_.view(name); }

  void expect_whole() const override { file_.expect_whole(); }

  void release(std::span<const std::byte> part) const override {
    if (file_.is_mapped(part)) file_.release(part);
  }

 private:
  SafetensorsFile file_;
};

enum class Kind { kSafetensors, kIndex, kTorch, kTorchLegacy, kUnknown };

// By its first bytes; whether it is sound is for its reader to say.
Kind kind_of(std::string_view bytes) {
  constexpr size_t kLengthBytes = 8;
  constexpr uint64_t kLongestHeader = 100'000'000;
  if (bytes.starts_with("PK\x03\x04")) return Kind::kTorch;
  if (is_torch_legacy(std::as_bytes(std::span(bytes)))) return Kind::kTorchLegacy;
  const bool has_header = bytes.size() > kLengthBytes && bytes[kLengthBytes] == '{';
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  const bool is_object = first != std::string_view::npos && bytes[first] == '{';
  if (!has_header) return is_object ? Kind::kIndex : Kind::kUnknown;
  // A header's length can look like text, but then it is short.
  const auto length = load_little<uint64_t>(reinterpret_cast<const std::byte*>(bytes.data()));
  return is_object && length > kLongestHeader ? Kind::kIndex : Kind::kSafetensors;
}

// What a file is that cannot be read.
std::string describe(std::string_view bytes) {
  constexpr size_t kTarMagic = 257;
  if (bytes.empty()) return "an empty file";
  if (bytes[0] == '\x80') return "a pickle that torch.save did not write";
  if (bytes.substr(std::min(bytes.size(), kTarMagic)).starts_with("ustar")) return "a tar archive";
  const std::string_view beginning = bytes.substr(0, 8);
  return fmt::format(
      "a file that begins with {:02x}",
      fmt::join(std::vector<unsigned char>(beginning.begin(), beginning.end()), " "));
}

std::string file_in_folder(const std::filesystem::path& folder) {
  std::error_code error;
  for (const char* name : kFolderFiles) {
    const std::filesystem::path file = folder / name;
    // A folder of this name would be looked into, and so on.
    const bool is_file =
        std::filesystem::exists(file, error) && !std::filesystem::is_directory(file, error);
    if (is_file) return file.string();
  }
  bad_input("{}: expected a file, or a folder that holds one of {}; found a folder without",
            folder.string(),
            fmt::join(kFolderFiles, ", "));
}

}  // namespace

std::string_view name_of(FileFormat format) {
  switch (format) {
    case FileFormat::kSafetensors:
      return "safetensors";
    case FileFormat::kShardedSafetensors:
      return "sharded safetensors";
    case FileFormat::kPytorch:
      return "PyTorch";
  }
  return "";
}

std::string_view to_word(WeightSet weights) { return weights == WeightSet::kEma ? "ema" : "model"; }

WeightSet weight_set_from(std::string_view word, const std::string& what) {
  for (const WeightSet weights : {WeightSet::kEma, WeightSet::kModel}) {
    if (word == to_word(weights)) return weights;
  }
  bad_input("{}: expected ema or model, found {}", what, printable(word));
}

TensorFile::TensorFile(std::string path,
                       std::vector<TensorEntry> entries,
                       std::map<std::string, std::string> metadata)
    : path_(std::move(path)), entries_(std::move(entries)), metadata_(std::move(metadata)) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool is_new = by_name_.emplace(entries_[i].name, i).second;
    DITMOE_ASSERT(is_new);
  }
}

const TensorEntry& TensorFile::entry(const std::string& name) const {
  return entries_[index_of(name)];
}

size_t TensorFile::index_of(const std::string& name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    bad_input("{}: expected a tensor {}, found none", path_, printable(name));
  }
  return found->second;
}

std::shared_ptr<const TensorFile> TensorFile::open(const std::string& path,
                                                   std::optional<WeightSet> weights) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return open(file_in_folder(path), weights);
  const MappedFile file = MappedFile::open(path);
  const std::string_view bytes(reinterpret_cast<const char*>(file.bytes().data()),
                               file.bytes().size());
  const Kind kind = kind_of(bytes);
  if (kind == Kind::kUnknown) {
    bad_input("{}: expected safetensors, the index of several, or a PyTorch checkpoint, found {}",
              path,
              describe(bytes));
  }
  if (kind == Kind::kTorch)
    return open_torch_file(read_torch_archive(path, file.bytes()), file, weights);
  if (kind == Kind::kTorchLegacy)
    return open_torch_file(read_torch_legacy(path, file.bytes()), file, weights);
  if (weights) {
    bad_input(
        "{}: holds one set of weights, there are none to choose from; only PyTorch "
        "checkpoints hold several",
        path);
  }
  if (kind == Kind::kIndex) return open_sharded_safetensors(path);
  return std::make_shared<SafetensorsTensors>(SafetensorsFile::open(path));
}

std::vector<std::string> files_of(const TensorFile& file) {
  std::vector<std::string> files = {file.path()};
  if (file.format() != FileFormat::kShardedSafetensors) return files;
  for (std::string& shard : shards_of(file.path())) files.push_back(std::move(shard));
  return files;
}

base::DType main_dtype(const TensorFile& file) {
  std::map<base::DType, uint64_t> bytes;
  for (const TensorEntry& entry : file.entries()) bytes[entry.dtype] += entry.bytes;
  const auto most = std::ranges::max_element(
      bytes, {}, [](const auto& dtype_and_bytes) { return dtype_and_bytes.second; });
  return most == bytes.end() ? base::DType::kF32 : most->first;
}

}  // namespace ditmoe::formats
