#include "ditmoe/data/latent_writer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/safetensors.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::bad_input;

constexpr float kLargestHalf = 65504;

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// Takes `ending` off the end of name, if it stands there.
bool strip(std::string_view& name, std::string_view ending) {
  if (!name.ends_with(ending)) return false;
  name.remove_suffix(ending.size());
  return true;
}

// Whether it is the name that formats::AtomicFile gives to one of a cache's files while it is
// written, NAME.tmp.PROCESS.COUNT: what a process that was killed may have left.
bool is_leftover(std::string_view name) {
  for (int i = 0; i < 2; ++i) {
    const size_t dot = name.rfind('.');
    if (dot == std::string_view::npos || !is_number(name.substr(dot + 1))) return false;
    name = name.substr(0, dot);
  }
  if (!strip(name, ".tmp")) return false;
  if (name == "index.json") return true;
  constexpr std::string_view kBeginning = "latents-";
  if (!strip(name, ".safetensors") || !name.starts_with(kBeginning)) return false;
  name.remove_prefix(kBeginning.size());
  return is_number(name) && name.size() >= 5;
}

void expect_no_other_files(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (is_leftover(name)) continue;
    bad_input("{}: expected an empty folder or a latent cache, found {}",
              folder,
              formats::printable(name));
  }
  if (error) bad_input("{}: cannot be listed: {}", folder, error.message());
}

void remove_leftovers(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;
    if (!is_leftover(entry.path().filename().string()) || !entry.is_regular_file(ignored)) continue;
    fs::remove(entry.path(), ignored);
  }
}

// Whether a shard is as it was written; a warning tells why it is not. That it cannot be read now
// is no damage, but a failure.
bool is_intact(const std::string& path, const formats::Checksum& expected) {
  constexpr const char* kAgain = "this shard and all behind it are encoded again";
  std::error_code error;
  if (!fs::exists(path, error) && !error) {
    base::log_warning("{}: expected a shard, found none; {}", path, kAgain);
    return false;
  }
  formats::Checksum found;
  try {
    found = formats::checksum_of(path);
  } catch (const base::Error& fault) {
    base::failure("{}", fault.what());
  }
  if (found.bytes == expected.bytes && found.crc32 == expected.crc32) return true;
  base::log_warning("{}: expected {} bytes with checksum {:08x}, found {} with {:08x}; {}",
                    path,
                    expected.bytes,
                    expected.crc32,
                    found.bytes,
                    found.crc32,
                    kAgain);
  return false;
}

}  // namespace

LatentWriter::LatentWriter(std::string folder,
                           LatentSettings settings,
                           std::vector<std::string> class_names)
    : folder_(std::move(folder)) {
  index_.settings = std::move(settings);
  index_.class_names = std::move(class_names);
  expect_readable_when_complete(folder_, index_);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) bad_input("{}: cannot be made: {}", folder_, error.message());
  lock_ = std::make_unique<formats::FolderLock>(folder_);
  if (auto begun = read_latent_index(folder_)) {
    resume(std::move(*begun));
  } else {
    expect_no_other_files(folder_);
  }
  check_room();
  // From here on the folder is ours to change.
  if (!index_.complete() || index_.shards.empty()) write_latent_index(folder_, index_);
  cut_corrupt_list(folder_, index_.corrupt());
  remove_leftovers(folder_);
}

void LatentWriter::resume(LatentIndex begun) {
  if (begun.settings.images != index_.settings.images) {
    bad_input("{}: was begun with other images, by name, label or size; encode into another folder",
              folder_);
  }
  if (const std::string which = difference(begun.settings, index_.settings); !which.empty()) {
    bad_input("{}: was begun with {}; encode into another folder", folder_, which);
  }
  if (begun.class_names != index_.class_names) {
    bad_input("{}: was begun with other classes; encode into another folder", folder_);
  }
  index_ = std::move(begun);
  drop_damaged_shards();
  next_ = index_.done();
}

void LatentWriter::drop_damaged_shards() {
  if (!index_.shards.empty()) {
    base::log_info("{}: checking what is there, {} shards", folder_, index_.shards.size());
  }
  size_t intact = 0;
  while (intact < index_.shards.size() &&
         is_intact(shard_path(folder_, intact), index_.shards[intact].checksum)) {
    ++intact;
  }
  index_.shards.resize(intact);
  const int64_t listed = corrupt_list_length(folder_);
  const int64_t expected = index_.corrupt();
  if (listed >= expected) return;
  while (index_.corrupt() > listed) index_.shards.pop_back();
  base::log_warning(
      "{}: expected {} lines, found {}; the images from number {} on are encoded again",
      corrupt_list_path(folder_),
      expected,
      listed,
      index_.done());
}

void LatentWriter::check_room() const {
  const LatentSettings& settings = index_.settings;
  const double bytes = static_cast<double>(settings.num_images - next_) *
                       static_cast<double>(settings.bytes_per_image());
  std::error_code error;
  auto available = static_cast<double>(fs::space(folder_, error).available);
  if (error) return;
  // Damaged shards, and those behind them, give way.
  for (size_t number = index_.shards.size();; ++number) {
    const auto replaced = fs::file_size(shard_path(folder_, number), error);
    if (error) break;
    available += static_cast<double>(replaced);
  }
  if (bytes > available) {
    bad_input("{}: the latents take {:.3g} GB, but the disk has {:.3g} GB free",
              folder_,
              bytes / 1e9,
              available / 1e9);
  }
}

int64_t LatentWriter::shard_end() const {
  const LatentSettings& settings = index_.settings;
  return std::min(index_.done() + settings.images_per_shard, settings.num_images);
}

void LatentWriter::check_values(const std::string& name, std::span<const float> values) const {
  const bool half = index_.settings.dtype == base::DType::kF16;
  for (const float value : values) {
    if (std::isfinite(value) && !(half && std::abs(value) > kLargestHalf)) continue;
    base::failure("{}: image {}: expected finite values{} from the autoencoder, found {}",
                  folder_,
                  formats::printable(name),
                  half ? " that f16 can hold" : "",
                  value);
  }
}

void LatentWriter::append(const std::string& name, std::span<const float> values, Values& out) {
  const LatentSettings& settings = index_.settings;
  DITMOE_ASSERT(values.size() == static_cast<size_t>(settings.elements()));
  check_values(name, values);
  const base::TensorView view{
      base::DType::kF32, {settings.elements()}, reinterpret_cast<const std::byte*>(values.data())};
  const size_t bytes = values.size() * base::size_of(settings.dtype);
  // A vector that grows by itself takes up to twice as much.
  if (out.empty()) out.reserve(bytes * static_cast<size_t>(shard_end() - index_.done()));
  const size_t end = out.size();
  out.resize(end + bytes);
  base::convert_into(view, settings.dtype, out.data() + end);
}

void LatentWriter::store(const std::string& name, const Moments& moments, bool flipped) {
  if (index_.settings.moments) {
    append(name, moments.mean, first_[flipped]);
    append(name, moments.logvar, logvar_[flipped]);
    return;
  }
  sample_.resize(moments.mean.size());
  const base::RandomKey key = latent_key(index_.settings.seed, 0, next_, flipped);
  sample_latent(moments.mean, moments.logvar, key, sample_);
  append(name, sample_, first_[flipped]);
}

void LatentWriter::add(const std::string& name,
                       int32_t label,
                       const Moments& image,
                       const Moments& mirrored) {
  DITMOE_ASSERT(next_ < index_.settings.num_images);
  store(name, image, false);
  if (index_.settings.flip) store(name, mirrored, true);
  labels_.push_back(label);
  indices_.push_back(next_);
  advance();
}

void LatentWriter::add_corrupt(CorruptImage image) {
  DITMOE_ASSERT(next_ < index_.settings.num_images);
  corrupt_.push_back(std::move(image));
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
  append_to_corrupt_list(folder_, corrupt_);
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
