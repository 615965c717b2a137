#include "ditmoe/data/latent_cache.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/data/random_streams.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::data {
namespace {

using base::bad_input;
using base::Json;

constexpr const char* kFormat = "ditmoe latents 2";

// Limits that no cache comes near and that keep products of a few of them within 63 bits.
constexpr int64_t kMaxImages = int64_t{1} << 31;
constexpr int64_t kMaxSide = 1 << 16;

// Each takes about a kilobyte of what an index that is read may take.
constexpr int64_t kMostShards = 4096;

constexpr size_t kMaxIndexBytes = size_t{16} << 20;

constexpr formats::Checksum kLongestChecksum = {std::numeric_limits<uint64_t>::max(),
                                                std::numeric_limits<uint32_t>::max()};

// Rounded up.
int64_t divided(int64_t number, int64_t divisor) { return (number + divisor - 1) / divisor; }

std::string index_path(const std::string& folder) { return folder + "/index.json"; }

// Every setting with its key, in the order it is written: the one list behind writing, reading and
// comparing.
template <typename Settings, typename Visit>
void visit_settings(Settings& settings, Visit&& visit) {
  visit("images", settings.images);
  visit("num_images", settings.num_images);
  visit("autoencoder", settings.autoencoder);
  visit("precision", settings.precision);
  visit("image_size", settings.image_size);
  visit("channels", settings.channels);
  visit("height", settings.height);
  visit("width", settings.width);
  visit("moments", settings.moments);
  visit("flip", settings.flip);
  visit("dtype", settings.dtype);
  visit("seed", settings.seed);
  visit("scale", settings.scale);
  visit("shift", settings.shift);
  visit("images_per_shard", settings.images_per_shard);
}

Json to_json(base::DType dtype) { return std::string(base::name_of(dtype)); }

template <typename Value>
Json to_json(const Value& value) {
  return value;
}

Json settings_json(const LatentSettings& settings) {
  Json json = Json::object();
  visit_settings(settings, [&](const char* key, const auto& value) { json[key] = to_json(value); });
  return json;
}

// What stands there, short enough for one line.
std::string shown(const Json& json) {
  if (json.is_structured()) return json.type_name();
  if (json.is_string()) return formats::printable(json.get_ref<const std::string&>());
  return json.dump().substr(0, 40);
}

// Reads members of one JSON object; `place` names it in messages.
class Members {
 public:
  Members(const Json& json, std::string place) : json_(json), place_(std::move(place)) {
    if (!json.is_object()) bad_input("{}: expected an object, found {}", place_, shown(json));
  }

  const Json& at(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) bad_input("{}: expected a key {}, found none", place_, key);
    return *found;
  }

  uint64_t natural(const char* key, uint64_t most) const {
    const Json& json = at(key);
    if (!json.is_number_unsigned() || json.get<uint64_t>() > most) {
      bad_input(
          "{}: {}: expected a whole number up to {}, found {}", place_, key, most, shown(json));
    }
    return json.get<uint64_t>();
  }

  std::string text(const char* key) const {
    const Json& json = at(key);
    if (!json.is_string()) bad_input("{}: {}: expected text, found {}", place_, key, shown(json));
    return json.get<std::string>();
  }

  const Json& list(const char* key) const {
    const Json& json = at(key);
    if (!json.is_array()) bad_input("{}: {}: expected a list, found {}", place_, key, shown(json));
    return json;
  }

  void read(const char* key, int64_t& value) const {
    value = static_cast<int64_t>(natural(key, static_cast<uint64_t>(kMaxImages)));
  }

  void read(const char* key, uint64_t& value) const {
    value = natural(key, std::numeric_limits<uint64_t>::max());
  }

  void read(const char* key, std::string& value) const { value = text(key); }

  void read(const char* key, bool& value) const {
    const Json& json = at(key);
    if (!json.is_boolean()) {
      bad_input("{}: {}: expected true or false, found {}", place_, key, shown(json));
    }
    value = json.get<bool>();
  }

  void read(const char* key, double& value) const {
    const Json& json = at(key);
    if (!json.is_number() || !std::isfinite(json.get<double>())) {
      bad_input("{}: {}: expected a number, found {}", place_, key, shown(json));
    }
    value = json.get<double>();
  }

  void read(const char* key, base::DType& value) const {
    const auto dtype = base::dtype_from_name(text(key));
    if (dtype != base::DType::kF16 && dtype != base::DType::kF32) {
      bad_input("{}: {}: expected F16 or F32, found {}", place_, key, shown(at(key)));
    }
    value = *dtype;
  }

  const std::string& place() const { return place_; }

 private:
  const Json& json_;
  std::string place_;
};

LatentSettings read_settings(const Json& json, const std::string& place) {
  const Members members(json, place);
  LatentSettings settings;
  visit_settings(settings, [&](const char* key, auto& value) { members.read(key, value); });
  const std::pair<const char*, int64_t> sides[] = {{"image_size", settings.image_size},
                                                   {"channels", settings.channels},
                                                   {"height", settings.height},
                                                   {"width", settings.width}};
  for (const auto& [key, value] : sides) {
    if (value < 1 || value > kMaxSide) {
      bad_input("{}: {}: expected 1 to {}, found {}", place, key, kMaxSide, value);
    }
  }
  if (settings.images_per_shard < 1) bad_input("{}: images_per_shard: expected 1 or more", place);
  return settings;
}

LatentShard read_shard(const Json& json,
                       size_t number,
                       const LatentSettings& settings,
                       const std::string& path) {
  const Members members(json, fmt::format("{}: shards: {}", path, number));
  LatentShard shard;
  members.read("first", shard.first);
  members.read("last", shard.last);
  members.read("count", shard.count);
  members.read("bytes", shard.checksum.bytes);
  shard.checksum.crc32 =
      static_cast<uint32_t>(members.natural("crc32", std::numeric_limits<uint32_t>::max()));
  const int64_t first = static_cast<int64_t>(number) * settings.images_per_shard;
  const int64_t last = std::min(first + settings.images_per_shard, settings.num_images);
  if (shard.first != first || shard.last != last || first >= last) {
    bad_input("{}: expected images {} to {}, found {} to {}",
              members.place(),
              first,
              last,
              shard.first,
              shard.last);
  }
  if (shard.count > last - first) {
    bad_input(
        "{}: count: expected at most {}, found {}", members.place(), last - first, shard.count);
  }
  return shard;
}

LatentIndex parse_index(const std::string& text, const std::string& path) {
  if (text.size() > kMaxIndexBytes) {
    bad_input("{}: expected at most {} bytes, found {}", path, kMaxIndexBytes, text.size());
  }
  const Json json = base::parse_json(text, path);
  const Members members(json, path);
  if (const std::string format = members.text("format"); format != kFormat) {
    bad_input("{}: format: expected '{}', found {}", path, kFormat, formats::printable(format));
  }
  LatentIndex index;
  index.settings = read_settings(members.at("settings"), path + ": settings");
  for (const Json& name : members.list("classes")) {
    if (!name.is_string()) bad_input("{}: classes: expected text, found {}", path, shown(name));
    index.class_names.push_back(name.get<std::string>());
  }
  for (const Json& shard : members.list("shards")) {
    index.shards.push_back(read_shard(shard, index.shards.size(), index.settings, path));
  }
  int64_t corrupt = 0;
  members.read("corrupt", corrupt);
  if (corrupt != index.corrupt()) {
    bad_input("{}: corrupt: expected the {} images that the shards lack, found {}",
              path,
              index.corrupt(),
              corrupt);
  }
  return index;
}

std::string to_text(const LatentIndex& index) {
  Json json = {{"format", kFormat},
               {"complete", index.complete()},
               {"count", index.count()},
               {"corrupt", index.corrupt()},
               {"settings", settings_json(index.settings)},
               {"classes", index.class_names}};
  json["shards"] = Json::array();
  for (size_t i = 0; i < index.shards.size(); ++i) {
    const LatentShard& shard = index.shards[i];
    json["shards"].push_back(
        {{"file", std::filesystem::path(shard_path("", i)).filename().string()},
         {"first", shard.first},
         {"last", shard.last},
         {"count", shard.count},
         {"bytes", shard.checksum.bytes},
         {"crc32", shard.checksum.crc32}});
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

int64_t LatentSettings::bytes_per_image() const {
  return elements() * static_cast<int64_t>(base::size_of(dtype)) * (moments ? 2 : 1) *
         (flip ? 2 : 1);
}

int64_t default_images_per_shard(const LatentSettings& settings) {
  constexpr int64_t kUnit = 1024;
  constexpr int64_t kUsualShards = 512;
  constexpr int64_t kShardBytes = int64_t{256} << 20;
  const int64_t usual =
      kUnit * std::max<int64_t>(1, divided(settings.num_images, kUsualShards * kUnit));
  const int64_t fitting = std::max<int64_t>(1, kShardBytes / settings.bytes_per_image());
  return std::max(std::min(usual, fitting), divided(settings.num_images, kMostShards));
}

int64_t LatentIndex::count() const {
  int64_t sum = 0;
  for (const LatentShard& shard : shards) sum += shard.count;
  return sum;
}

std::optional<LatentIndex> read_latent_index(const std::string& folder) {
  const std::string path = index_path(folder);
  std::error_code unreachable;
  if (!std::filesystem::exists(path, unreachable)) return std::nullopt;
  return parse_index(formats::read_text(path, kMaxIndexBytes), path);
}

void write_latent_index(const std::string& folder, const LatentIndex& index) {
  formats::write_text(index_path(folder), to_text(index));
}

void expect_readable_when_complete(const std::string& folder, const LatentIndex& index) {
  LatentIndex whole = index;
  const LatentSettings& settings = whole.settings;
  DITMOE_ASSERT(settings.images_per_shard > 0);
  const int64_t num_shards = divided(settings.num_images, settings.images_per_shard);
  if (num_shards > kMostShards) {
    bad_input("{}: expected at most {} shards, found {} of {} images",
              folder,
              kMostShards,
              num_shards,
              settings.images_per_shard);
  }
  while (!whole.complete()) {
    const int64_t first = whole.done();
    const int64_t last = std::min(first + settings.images_per_shard, settings.num_images);
    whole.shards.push_back({first, last, 0, kLongestChecksum});
  }
  try {
    parse_index(to_text(whole), index_path(folder));
  } catch (const base::Error& error) {
    bad_input("{}: an index of {} classes and {} shards could not be read again: {}",
              folder,
              whole.class_names.size(),
              num_shards,
              error.what());
  }
}

void expect_intact(const std::string& path, const formats::Checksum& expected) {
  const formats::Checksum found = formats::checksum_of(path);
  if (found.bytes == expected.bytes && found.crc32 == expected.crc32) return;
  bad_input("{}: expected {} bytes with checksum {:08x}, found {} with {:08x}",
            path,
            expected.bytes,
            expected.crc32,
            found.bytes,
            found.crc32);
}

std::string difference(const LatentSettings& found, const LatentSettings& wanted) {
  const Json theirs = settings_json(found);
  const Json ours = settings_json(wanted);
  for (const auto& [key, value] : ours.items()) {
    if (theirs.at(key) == value) continue;
    return fmt::format("{} {}, not {}", key, shown(theirs.at(key)), shown(value));
  }
  return "";
}

std::string shard_path(const std::string& folder, size_t number) {
  return fmt::format("{}/latents-{:05}.safetensors", folder, number);
}

void sample_latent(std::span<const float> mean,
                   std::span<const float> logvar,
                   const base::RandomKey& key,
                   std::span<float> out) {
  DITMOE_ASSERT(mean.size() == out.size() && logvar.size() == out.size());
  base::fill_normal(out, key);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = mean[i] + std::exp(0.5F * logvar[i]) * out[i];
  }
}

base::RandomKey latent_key(uint64_t seed, uint64_t draw, int64_t index, bool flipped) {
  DITMOE_ASSERT(index >= 0 && index <= kMaxImages && draw < uint64_t{1} << 31);
  const uint64_t image = static_cast<uint64_t>(index) << 1 | (flipped ? 1 : 0);
  return {seed, draw << 33 | image, stream::kLatent};
}

}  // namespace ditmoe::data
