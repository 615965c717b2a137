#include "ditmoe/networks/diffusers_dit.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/kernels/position_embedding.h"
#include "ditmoe/networks/diffusers_names.h"

namespace ditmoe::networks {
namespace {

using base::bad_input;
using formats::TensorEntry;
using formats::TensorFile;

constexpr const char* kPosition = "pos_embed";

constexpr const char* kPatches = "pos_embed.proj.weight";
constexpr const char* kLabels =
    "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight";

// What config.json says that tensors do not.
struct Settings {
  int64_t heads = 0;
  int64_t sample_size = 0;
};

// config.json beside the weights.
class Config {
 public:
  explicit Config(const TensorFile& file)
      : path_((std::filesystem::path(file.path()).parent_path() / "config.json").string()),
        json_(base::parse_json(formats::read_text(path_), path_)) {
    if (!json_.is_object()) bad_input("{}: expected an object, found {}", path_, json_.type_name());
  }

  int64_t number(const char* key) const {
    constexpr uint64_t kLargest = 1 << 16;
    const auto found = json_.find(key);
    if (found == json_.end() || !found->is_number_unsigned() || *found == 0 ||
        found->get<uint64_t>() > kLargest) {
      refuse(key, fmt::format("a whole number from 1 to {}", kLargest));
    }
    return found->get<int64_t>();
  }

  // Where the key is there, it has to be this.
  void expect(const char* key, const std::vector<base::Json>& allowed) const {
    const auto found = json_.find(key);
    if (found == json_.end() || std::ranges::find(allowed, *found) != allowed.end()) return;
    std::vector<std::string> texts;
    for (const base::Json& value : allowed) texts.push_back(value.dump());
    refuse(key, fmt::format("{}", fmt::join(texts, " or ")));
  }

  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    constexpr size_t kMostShown = 60;
    const std::string found =
        json_.contains(key) ? json_.at(key).dump(-1, ' ', true).substr(0, kMostShown) : "none";
    bad_input("{}: {}: expected {}, found {}", path_, key, expected, found);
  }

 private:
  std::string path_;
  base::Json json_;
};

// Settings, of which those that tensors tell too must agree.
Settings read_settings(const TensorFile& file) {
  const Config config(file);
  config.expect("_class_name", {"DiTTransformer2DModel", "Transformer2DModel"});
  config.expect("activation_fn", {"gelu-approximate"});
  config.expect("norm_type", {"ada_norm_zero"});
  const base::Shape& patches = file.entry(kPatches).shape;
  if (patches.size() != 4 || patches[0] < 1 || patches[0] % 4 != 0 || patches[2] < 1) {
    bad_input(
        "{}: tensor '{}': expected [width, channels, patch, patch] with a multiple of 4 as width, "
        "found {}",
        file.path(),
        kPatches,
        base::to_string(patches));
  }
  config.expect("in_channels", {patches[1]});
  config.expect("patch_size", {patches[2]});
  const base::Shape& labels = file.entry(kLabels).shape;
  if (!labels.empty()) config.expect("num_embeds_ada_norm", {labels[0] - 1});
  const Settings settings = {config.number("num_attention_heads"), config.number("sample_size")};
  if (settings.sample_size < patches[2]) {
    config.refuse("sample_size", fmt::format("at least one patch of {}", patches[2]));
  }
  if (settings.heads > patches[0] || patches[0] % settings.heads != 0) {
    config.refuse("num_attention_heads", fmt::format("a divisor of the width {}", patches[0]));
  }
  config.expect("attention_head_dim", {patches[0] / settings.heads});
  return settings;
}

// The tensors of a canonical one, in the order in which they stand below one another.
using Parts = std::vector<std::string>;

class DiffusersDit final : public TensorFile {
 public:
  DiffusersDit(std::shared_ptr<const TensorFile> file,
               std::vector<TensorEntry> entries,
               std::vector<Parts> parts,
               std::map<std::string, std::string> metadata)
      : TensorFile(file->path(), std::move(entries), std::move(metadata)),
        file_(std::move(file)),
        parts_(std::move(parts)) {}

  formats::FileFormat format() const override { return file_->format(); }

  base::TensorView view(const std::string& name) const override {
    const size_t index = index_of(name);
    const TensorEntry& entry = entries()[index];
    const Parts& parts = parts_[index];
    const std::lock_guard lock(mutex_);
    if (parts.size() == 1) {
      if (checked_.insert(index).second) check_repeated(name, parts[0]);
      return file_->view(parts[0]);
    }
    base::Tensor& made = made_[index];
    if (made.view().data == nullptr) made = parts.empty() ? position(entry) : joined(entry, parts);
    return made.view();
  }

  void expect_whole() const override { file_->expect_whole(); }

  void release(std::span<const std::byte> part) const override { file_->release(part); }

 private:
  static base::Tensor position(const TensorEntry& entry) {
    base::Tensor embedding(base::DType::kF32, entry.shape);
    int64_t grid = 1;
    while (grid * grid < entry.shape[1]) ++grid;
    kernels::sincos_position_embedding(grid, entry.shape[2], embedding.as<float>());
    if (entry.dtype == base::DType::kF32) return embedding;
    return base::convert(embedding.view(), entry.dtype);
  }

  base::Tensor joined(const TensorEntry& entry, const Parts& parts) const {
    base::Tensor tensor(entry.dtype, entry.shape);
    std::byte* dst = tensor.data();
    for (const std::string& part : parts) {
      const base::TensorView view = file_->view(part);
      if (view.bytes() > 0) std::memcpy(dst, view.data, view.bytes());
      dst += view.bytes();
    }
    return tensor;
  }

  // A tensor of the first block that every block repeats must be the same in all.
  void check_repeated(const std::string& name, const std::string& first) const {
    for (const DiffusersName& repeated : kDiffusersRepeated) {
      if (name != repeated.canonical) continue;
      const base::TensorView expected = file_->view(first);
      for (int64_t block = 1; file_->contains(diffusers_in_block(block, repeated.diffusers));
           ++block) {
        const std::string other = diffusers_in_block(block, repeated.diffusers);
        const base::TensorView found = file_->view(other);
        const bool is_alike = found.dtype == expected.dtype && found.shape == expected.shape;
        if (!is_alike ||
            (found.bytes() > 0 && std::memcmp(found.data, expected.data, found.bytes()) != 0)) {
          bad_input("{}: tensor {}: expected the values of {}, found others",
                    path(),
                    formats::printable(other),
                    formats::printable(first));
        }
      }
    }
  }

  std::shared_ptr<const TensorFile> file_;
  std::vector<Parts> parts_;  // as entries(); none for the position embedding
  mutable std::mutex mutex_;
  mutable std::map<size_t, base::Tensor> made_;
  mutable std::set<size_t> checked_;
};

// Collects the canonical tensors.
class Renamer {
 public:
  explicit Renamer(const TensorFile& file) : file_(file) {}

  void add(const std::string& canonical, const std::string& name) {
    TensorEntry entry = file_.entry(name);
    entry.name = canonical;
    entries_.push_back(std::move(entry));
    parts_.push_back({name});
  }

  // Tensors below one another.
  void join(const std::string& canonical, const Parts& names) {
    constexpr int64_t kMostRows = int64_t{1} << 32;
    TensorEntry entry = file_.entry(names[0]);
    for (const std::string& name : names) {
      const TensorEntry& part = file_.entry(name);
      if (part.shape.empty() || part.shape[0] > kMostRows ||
          part.shape != file_.entry(names[0]).shape || part.dtype != entry.dtype) {
        bad_input("{}: tensor {}: expected {} {} as {}, found {} {}",
                  file_.path(),
                  formats::printable(name),
                  base::name_of(entry.dtype),
                  base::to_string(file_.entry(names[0]).shape),
                  formats::printable(names[0]),
                  base::name_of(part.dtype),
                  base::to_string(part.shape));
      }
    }
    entry.name = canonical;
    entry.offset = 0;
    entry.bytes *= names.size();
    entry.shape[0] *= static_cast<int64_t>(names.size());
    entries_.push_back(std::move(entry));
    parts_.push_back(names);
  }

  // The embedding of sample_size / patch_size squared patches.
  void add_position(const Settings& settings) {
    constexpr uint64_t kMostBytes = uint64_t{64} << 20;
    const TensorEntry& patches = file_.entry(kPatches);
    const int64_t grid = settings.sample_size / patches.shape[2];
    const base::Shape shape = {1, grid * grid, patches.shape[0]};
    // In the type of the rest, as the original checkpoint has it; computed in F32.
    const auto computed = formats::tensor_bytes(shape, base::DType::kF32);
    const auto kept = formats::tensor_bytes(shape, patches.dtype);
    const bool is_f32 = patches.dtype == base::DType::kF32;
    if (!computed || !kept || *computed > kMostBytes ||
        (!is_f32 && *kept > kMostBytes - *computed)) {
      bad_input("{}: expected a position embedding of at most {} bytes, found {}",
                file_.path(),
                kMostBytes,
                base::to_string(shape));
    }
    entries_.push_back({kPosition, patches.dtype, shape, 0, *kept});
    parts_.emplace_back();
  }

  std::vector<TensorEntry>& entries() { return entries_; }

  std::vector<Parts>& parts() { return parts_; }

 private:
  const TensorFile& file_;
  std::vector<TensorEntry> entries_;
  std::vector<Parts> parts_;
};

}  // namespace

std::string transformer_of_pipeline(const std::string& path) {
  const std::filesystem::path folder(path);
  std::error_code error;
  if (!std::filesystem::exists(folder / "model_index.json", error)) return path;
  return (folder / "transformer").string();
}

bool is_diffusers_dit(const TensorFile& file) {
  return file.contains("transformer_blocks.0.norm1.linear.weight") && file.contains(kLabels);
}

std::shared_ptr<const TensorFile> adapt_diffusers_dit(std::shared_ptr<const TensorFile> file) {
  const Settings settings = read_settings(*file);
  Renamer renamer(*file);
  renamer.add_position(settings);
  for (const auto& [canonical, name] : kDiffusersOutside) renamer.add(canonical, name);
  for (const auto& [canonical, name] : kDiffusersRepeated)
    renamer.add(canonical, diffusers_in_block(0, name));
  int64_t blocks = 0;
  for (; file->contains(diffusers_in_block(blocks, "norm1.linear.weight")); ++blocks) {
    const std::string prefix = fmt::format("blocks.{}.", blocks);
    for (const char* part : {"weight", "bias"}) {
      Parts qkv;
      for (const char* which : {"q", "k", "v"}) {
        qkv.push_back(diffusers_in_block(blocks, fmt::format("attn1.to_{}.{}", which, part)));
      }
      renamer.join(prefix + "attn.qkv." + part, qkv);
    }
    for (const auto& [canonical, name] : kDiffusersInBlock) {
      renamer.add(prefix + canonical, diffusers_in_block(blocks, name));
    }
    for (const auto& [canonical, name] : kDiffusersRepeated)
      file->entry(diffusers_in_block(blocks, name));
  }
  // What is left over would be lost.
  const size_t known =
      kDiffusersOutside.size() +
      static_cast<size_t>(blocks) * (6 + kDiffusersInBlock.size() + kDiffusersRepeated.size());
  if (known != file->entries().size()) {
    bad_input("{}: expected the {} tensors of a DiTTransformer2DModel of {} blocks, found {}",
              file->path(),
              known,
              blocks,
              file->entries().size());
  }
  std::map<std::string, std::string> metadata = file->metadata();
  metadata[kDiffusersHeads] = std::to_string(settings.heads);
  return std::make_shared<DiffusersDit>(std::move(file),
                                        std::move(renamer.entries()),
                                        std::move(renamer.parts()),
                                        std::move(metadata));
}

}  // namespace ditmoe::networks
