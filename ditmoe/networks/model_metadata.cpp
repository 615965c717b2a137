#include "ditmoe/networks/model_metadata.h"

#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/networks/classifier.h"

namespace ditmoe::networks {
namespace {

using base::bad_input;
using base::Json;

constexpr const char* kFormatKey = "ditmoe.format";
constexpr const char* kConfigKey = "ditmoe.config";
constexpr const char* kClassNamesKey = "ditmoe.class_names";
constexpr const char* kSamplingKey = "ditmoe.sampling";
constexpr const char* kFormatVersion = "1";

// The JSON under key, nullopt where there is none; `place` becomes its name in messages.
std::optional<Json> parse_entry(const Metadata& metadata,
                                const char* key,
                                const std::string& source,
                                std::string& place) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  place = fmt::format("{}: {}", source, key);
  return base::parse_json(found->second, place);
}

// Takes one key of ditmoe.sampling into the defaults; false for an unknown key.
bool read_sampling_key(const std::string& key,
                       const Json& value,
                       const std::string& place,
                       SamplingDefaults& sampling) {
  if (key == "sampler") {
    if (!value.is_string()) bad_input("{}: sampler: expected a word", place);
    sampling.sampler = value.get<std::string>();
  } else if (key == "steps") {
    constexpr auto kMaxSteps = uint64_t{std::numeric_limits<int32_t>::max()};
    const bool valid = value.is_number_unsigned() && value.get<uint64_t>() >= 1 &&
                       value.get<uint64_t>() <= kMaxSteps;
    if (!valid) bad_input("{}: steps: expected a whole number of 1 or more", place);
    sampling.steps = value.get<int64_t>();
  } else if (key == "cfg") {
    if (!value.is_number()) bad_input("{}: cfg: expected a number", place);
    sampling.cfg = value.get<double>();
  } else if (key == "cfg_channels") {
    if (value != "3" && value != "all") {
      bad_input("{}: cfg_channels: expected \"3\" or \"all\"", place);
    }
    sampling.cfg_channels = value.get<std::string>();
  } else {
    return false;
  }
  return true;
}

void check_sampler(const SamplingDefaults& sampling,
                   Objective objective,
                   const std::string& place) {
  for (const diffusion::SamplerInfo& info : diffusion::known_samplers()) {
    if (info.name != sampling.sampler) continue;
    if (info.rectified_flow == (objective == Objective::kRectifiedFlow)) return;
    bad_input("{}: sampler '{}' is not for models of objective {}",
              place,
              sampling.sampler,
              to_word(objective));
  }
  bad_input("{}: unknown sampler {}", place, formats::printable(sampling.sampler));
}

}  // namespace

SamplingDefaults default_sampling(Objective objective) {
  if (objective == Objective::kRectifiedFlow) return {"euler", 50, 1.0, "all"};
  return {"ddpm", 250, 1.0, "3"};
}

Metadata write_metadata(const DitConfig& config,
                        const std::vector<std::string>& class_names,
                        const SamplingDefaults& sampling) {
  Metadata metadata = {{kFormatKey, kFormatVersion}, {kConfigKey, to_json(config).dump()}};
  if (!class_names.empty()) metadata[kClassNamesKey] = Json(class_names).dump();
  metadata[kSamplingKey] = Json{
      {"sampler", sampling.sampler},
      {"steps", sampling.steps},
      {"cfg", sampling.cfg},
      {"cfg_channels",
       sampling.cfg_channels}}.dump();
  return metadata;
}

void check_format(const Metadata& metadata, const std::string& source) {
  const auto found = metadata.find(kFormatKey);
  if (found == metadata.end() || found->second == kFormatVersion) return;
  bad_input("{}: {}: expected version {}, found {}",
            source,
            kFormatKey,
            kFormatVersion,
            formats::printable(found->second));
}

std::optional<DitConfig> read_config(const Metadata& metadata, const std::string& source) {
  std::string place;
  const auto json = parse_entry(metadata, kConfigKey, source, place);
  if (!json && metadata.contains(kClassifierKey)) {
    bad_input(
        "{}: expected a diffusion transformer, found a classifier (for evaluate --classifier)",
        source);
  }
  if (!json) return std::nullopt;
  return dit_config_from_json(*json, place);
}

std::vector<std::string> read_class_names(const Metadata& metadata,
                                          int64_t num_classes,
                                          const std::string& source) {
  std::string place;
  const auto json = parse_entry(metadata, kClassNamesKey, source, place);
  if (!json) return {};
  if (!json->is_array() || json->size() != static_cast<size_t>(num_classes)) {
    bad_input("{}: expected an array of {} names, found {} of {}",
              place,
              num_classes,
              json->type_name(),
              json->size());
  }
  std::vector<std::string> names;
  for (const Json& name : *json) {
    if (!name.is_string()) bad_input("{}: expected names, found {}", place, name.type_name());
    names.push_back(name.get<std::string>());
  }
  return names;
}

SamplingDefaults read_sampling(const Metadata& metadata,
                               Objective objective,
                               const std::string& source) {
  SamplingDefaults sampling = default_sampling(objective);
  std::string place;
  const auto json = parse_entry(metadata, kSamplingKey, source, place);
  if (!json) return sampling;
  if (!json->is_object()) bad_input("{}: expected an object, found {}", place, json->type_name());
  for (const auto& [key, value] : json->items()) {
    if (!read_sampling_key(key, value, place, sampling)) {
      bad_input("{}: unknown key {}", place, formats::printable(key));
    }
  }
  check_sampler(sampling, objective, place);
  return sampling;
}

}  // namespace ditmoe::networks
