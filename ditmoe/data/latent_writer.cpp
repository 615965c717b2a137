#include "ditmoe/data/latent_writer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::bad_input;

constexpr float kLargestHalf = 65504;

// What a process that was killed left of a file it was writing.
bool is_leftover(const std::string& name) {
  return (name.starts_with("latents-") || name.starts_with("index.json")) &&
         name.find(".tmp.") != std::string::npos;
}

// The names in the folder; removes leftovers.
std::vector<std::string> tidy(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_leftover(name)) {
      std::error_code ignored;
      fs::remove(entry.path(), ignored);
    } else {
      names.push_back(name);
    }
  }
  if (error) bad_input("{}: cannot be listed: {}", folder, error.message());
  return names;
}

}  // namespace

LatentWriter::LatentWriter(std::string folder,
                           LatentSettings settings,
                           std::vector<std::string> class_names)
    : folder_(std::move(folder)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) bad_input("{}: cannot be made: {}", folder_, error.message());
  lock_ = std::make_unique<formats::FolderLock>(folder_);
  index_.settings = std::move(settings);
  index_.class_names = std::move(class_names);
  const std::vector<std::string> names = tidy(folder_);
  if (const auto begun = read_latent_index(folder_)) {
    resume(*begun);
  } else if (!names.empty()) {
    bad_input("{}: expected an empty folder or a latent cache, found {}",
              folder_,
              formats::printable(names.front()));
  }
  check_room();
  if (index_.shards.empty()) write_latent_index(folder_, index_);
}

void LatentWriter::resume(const LatentIndex& begun) {
  if (const std::string which = difference(begun.settings, index_.settings); !which.empty()) {
    bad_input("{}: was begun with {}; encode into another folder", folder_, which);
  }
  if (begun.class_names != index_.class_names) {
    bad_input("{}: was begun with other classes; encode into another folder", folder_);
  }
  for (size_t i = 0; i < begun.shards.size(); ++i) {
    const std::string path = shard_path(folder_, i);
    std::error_code error;
    const uint64_t bytes = fs::file_size(path, error);
    if (error || bytes != begun.shards[i].checksum.bytes) {
      bad_input("{}: expected the {} bytes that index.json tells, found {}",
                path,
                begun.shards[i].checksum.bytes,
                error ? error.message() : std::to_string(bytes));
    }
  }
  index_ = begun;
  next_ = begun.done();
}

void LatentWriter::check_room() const {
  const LatentSettings& settings = index_.settings;
  const int64_t values = settings.elements() * (settings.moments ? 2 : 1) * (settings.flip ? 2 : 1);
  const double bytes = static_cast<double>(settings.num_images - next_) *
                       static_cast<double>(values) *
                       static_cast<double>(base::size_of(settings.dtype));
  std::error_code error;
  const fs::space_info space = fs::space(folder_, error);
  if (!error && bytes > static_cast<double>(space.available)) {
    bad_input("{}: the latents take {:.3g} GB, but the disk has {:.3g} GB free",
              folder_,
              bytes / 1e9,
              static_cast<double>(space.available) / 1e9);
  }
}

int64_t LatentWriter::shard_end() const {
  const LatentSettings& settings = index_.settings;
  return std::min(index_.done() + settings.images_per_shard, settings.num_images);
}

void LatentWriter::append(std::span<const float> values, Values& out) {
  const LatentSettings& settings = index_.settings;
  DITMOE_ASSERT(values.size() == static_cast<size_t>(settings.elements()));
  for (const float value : values) {
    if (!std::isfinite(value)) {
      base::failure("{}: image {}: the autoencoder gave {}", folder_, next_, value);
    }
    if (settings.dtype == base::DType::kF16 && std::abs(value) > kLargestHalf) {
      base::failure("{}: image {}: {} is too large for f16", folder_, next_, value);
    }
  }
  const base::TensorView view{
      base::DType::kF32, {settings.elements()}, reinterpret_cast<const std::byte*>(values.data())};
  const size_t end = out.size();
  out.resize(end + values.size() * base::size_of(settings.dtype));
  base::convert_into(view, settings.dtype, out.data() + end);
}

void LatentWriter::store(const Moments& moments, bool flipped) {
  if (index_.settings.moments) {
    append(moments.mean, first_[flipped]);
    append(moments.logvar, logvar_[flipped]);
    return;
  }
  sample_.resize(moments.mean.size());
  const base::RandomKey key = latent_key(index_.settings.seed, 0, next_, flipped);
  sample_latent(moments.mean, moments.logvar, key, sample_);
  append(sample_, first_[flipped]);
}

void LatentWriter::add(int32_t label, const Moments& image, const Moments& mirrored) {
  DITMOE_ASSERT(next_ < index_.settings.num_images);
  store(image, false);
  if (index_.settings.flip) store(mirrored, true);
  labels_.push_back(label);
  indices_.push_back(next_);
  advance();
}

void LatentWriter::add_corrupt(std::string name, std::string reason) {
  DITMOE_ASSERT(next_ < index_.settings.num_images);
  corrupt_.push_back({std::move(name), std::move(reason)});
  advance();
}

void LatentWriter::advance() {
  if (++next_ == shard_end()) write_shard();
}

void LatentWriter::write_shard() {
  const LatentSettings& settings = index_.settings;
  const auto count = static_cast<int64_t>(labels_.size());
  const base::Shape shape = {count, settings.channels, settings.height, settings.width};
  formats::NamedTensors tensors = {
      {"index", {base::DType::kI64, {count}, reinterpret_cast<const std::byte*>(indices_.data())}},
      {"label", {base::DType::kI32, {count}, reinterpret_cast<const std::byte*>(labels_.data())}}};
  for (const bool flipped : {false, true}) {
    if (flipped && !settings.flip) continue;
    const std::string suffix = flipped ? "_flip" : "";
    const std::string name = settings.moments ? "mean" : "sample";
    tensors.push_back({name + suffix, {settings.dtype, shape, first_[flipped].data()}});
    if (!settings.moments) continue;
    tensors.push_back({"logvar" + suffix, {settings.dtype, shape, logvar_[flipped].data()}});
  }
  const std::string path = shard_path(folder_, index_.shards.size());
  formats::write_safetensors(path, tensors);

  index_.shards.push_back({index_.done(), next_, count, formats::checksum_of(path)});
  index_.corrupt.insert(index_.corrupt.end(), corrupt_.begin(), corrupt_.end());
  write_latent_index(folder_, index_);
  for (const bool flipped : {false, true}) {
    first_[flipped].clear();
    logvar_[flipped].clear();
  }
  labels_.clear();
  indices_.clear();
  corrupt_.clear();
}

}  // namespace ditmoe::data
