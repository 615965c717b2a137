#include "ditmoe/pipeline/settings.h"

#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "ditmoe/base/quoted.h"
#include "ditmoe/base/version.h"
#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/formats/toml.h"
#include "ditmoe/pipeline/labels.h"

namespace ditmoe::pipeline {
namespace {

constexpr double kMaxGuidance = 1000;

const diffusion::SamplerInfo& find_sampler(const std::string& name, const std::string& place = "") {
  std::vector<std::string> names;
  for (const diffusion::SamplerInfo& info : diffusion::known_samplers()) {
    if (info.name == name) return info;
    names.push_back(info.name);
  }
  const std::string nearest = formats::nearest_word(name, names);
  base::bad_input("{}sampler {}: expected one of {}{}",
                  place,
                  base::quoted(name),
                  fmt::join(names, ", "),
                  nearest.empty() ? "" : "; did you mean '" + nearest + "'?");
}

void check_range(const std::string& source, const char* key, int64_t value, int64_t most) {
  if (value >= 0 && value <= most) return;
  base::bad_input("{}: key '{}' must be from 0 to {}, found {}", source, key, most, value);
}

// Takes a value as it stands; false where that would round it or cut it off.
template <typename T>
bool take(const base::Json& json, T& value) {
  if constexpr (std::is_integral_v<T>) {
    if (!json.is_number_integer()) return false;
    const bool fits = json.is_number_unsigned() ? std::in_range<T>(json.get<uint64_t>())
                                                : std::in_range<T>(json.get<int64_t>());
    if (fits) value = json.get<T>();
    return fits;
  } else if constexpr (std::is_floating_point_v<T>) {
    if (json.is_number()) value = json.get<T>();
    return json.is_number();
  } else {
    if (json.is_string()) value = json.get<T>();
    return json.is_string();
  }
}

template <typename T>
bool take(const base::Json& json, std::vector<T>& values) {
  if (!json.is_array()) return false;
  values.resize(json.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!take(json[i], values[i])) return false;
  }
  return true;
}

// Reads keys of a JSON object with messages that name the source.
class Reader {
 public:
  Reader(const base::Json& json, const std::string& source) : json_(json), source_(source) {
    if (!json.is_object()) base::bad_input("{}: expected a JSON object", source);
  }

  template <typename T>
  void require(const char* key, T& value) const {
    if (!json_.contains(key)) base::bad_input("{}: key '{}' is missing", source_, key);
    if (take(json_.at(key), value)) return;
    base::bad_input("{}: key '{}' has a value of the wrong type or size: {}",
                    source_,
                    key,
                    json_.at(key).dump(-1, ' ', true).substr(0, 40));
  }

  template <typename T>
  void read(const char* key, T& value) const {
    if (json_.contains(key)) require(key, value);
  }

  void read(const char* key, std::optional<int64_t>& value) const {
    if (!json_.contains(key)) return;
    value.emplace();
    require(key, *value);
  }

 private:
  const base::Json& json_;
  const std::string& source_;
};

void read_interval(const Reader& reader,
                   const std::string& source,
                   diffusion::Guidance::Interval& interval) {
  std::vector<double> ends = {interval.low, interval.high};
  reader.read("cfg_interval", ends);
  if (ends.size() != 2) {
    base::bad_input("{}: key 'cfg_interval': expected two numbers, found {}", source, ends.size());
  }
  interval = {ends[0], ends[1]};
}

std::string label_list(const GenerateRequest& request, const networks::ModelFile& model) {
  std::string text;
  std::set<int32_t> seen;
  for (const int32_t label : request.labels) {
    if (!seen.insert(label).second) continue;
    if (!text.empty()) text += ", ";
    text += label_name(label, model.config().num_classes, model.class_names());
  }
  return text;
}

}  // namespace

GenerateRequest default_request(const networks::ModelFile& model) {
  const networks::SamplingDefaults& defaults = model.sampling();
  GenerateRequest request;
  request.sampler = defaults.sampler;
  request.steps = defaults.steps;
  request.guidance.scale = defaults.cfg;
  request.guidance.all_channels = all_channels_from(defaults.cfg_channels);
  return request;
}

int64_t default_steps(const networks::ModelFile& model, const std::string& sampler) {
  if (sampler == model.sampling().sampler) return model.sampling().steps;
  return find_sampler(sampler).default_steps;
}

std::string guided_channels_word(bool all_channels) { return all_channels ? "all" : "3"; }

bool all_channels_from(const std::string& word) {
  if (word != "3" && word != "all") {
    base::bad_input("guided channels {}: expected 3 or all", base::quoted(word));
  }
  return word == "all";
}

std::string interval_words(const diffusion::Guidance::Interval& interval) {
  return fmt::format("{},{}", interval.low, interval.high);
}

diffusion::Guidance::Interval interval_from(const std::string& words) {
  diffusion::Guidance::Interval interval;
  const char* end = words.data() + words.size();
  const auto low = std::from_chars(words.data(), end, interval.low);
  const bool comma = low.ec == std::errc() && low.ptr != end && *low.ptr == ',';
  const auto high = std::from_chars(comma ? low.ptr + 1 : end, end, interval.high);
  if (!comma || high.ec != std::errc() || high.ptr != end) {
    base::bad_input("guidance interval {}: expected LO,HI, two numbers from 0 to 1",
                    base::quoted(words));
  }
  return interval;
}

void check_request(const GenerateRequest& request, const networks::ModelFile& model) {
  const diffusion::SamplerInfo& sampler = find_sampler(request.sampler);
  const bool rectified_flow = model.config().objective == networks::Objective::kRectifiedFlow;
  if (sampler.rectified_flow != rectified_flow) {
    std::vector<std::string> fitting;
    for (const diffusion::SamplerInfo& info : diffusion::known_samplers()) {
      if (info.rectified_flow == rectified_flow) fitting.push_back(info.name);
    }
    base::bad_input("sampler '{}' does not fit {}, a {} model; expected {}",
                    request.sampler,
                    model.path(),
                    rectified_flow ? "rectified-flow" : "DDPM",
                    fmt::join(fitting, " or "));
  }
  diffusion::make_sampler(request.sampler, request.steps);  // refuses steps out of range
  if (!(request.guidance.scale >= 0 && request.guidance.scale <= kMaxGuidance)) {
    base::bad_input("guidance scale {}: expected a number from 0 to {} (1 is no guidance)",
                    request.guidance.scale,
                    kMaxGuidance);
  }
  diffusion::check_interval(request.guidance.interval);
  if (request.labels.empty()) base::bad_input("expected at least one image to draw");
  for (const int32_t label : request.labels) {
    if (label < 0 || label > model.config().num_classes) {
      base::bad_input("label {}: {} has classes 0 to {}, and {} for none",
                      label,
                      model.path(),
                      model.config().num_classes - 1,
                      model.config().num_classes);
    }
  }
}

base::Json sampling_json(const GenerateRequest& request) {
  base::Json json = {{"sampler", request.sampler},
                     {"steps", request.steps},
                     {"cfg", request.guidance.scale},
                     {"cfg_channels", guided_channels_word(request.guidance.all_channels)}};
  const diffusion::Guidance::Interval& interval = request.guidance.interval;
  if (interval != diffusion::Guidance::Interval{}) {
    json["cfg_interval"] = {interval.low, interval.high};
  }
  return json;
}

base::Json to_json(const PictureSettings& settings) {
  const GenerateRequest& request = settings.request;
  base::Json json;
  json["version"] = base::version();
  json["model"] = settings.model;
  if (!settings.vae.empty()) json["vae"] = settings.vae;
  json.update(sampling_json(request));
  if (settings.precision) json["dtype"] = kernels::to_word(*settings.precision);
  json["seed"] = request.seed;
  json["first_image"] = request.first_image;
  json["labels"] = request.labels;
  if (settings.overrides.heads) json["heads"] = *settings.overrides.heads;
  if (settings.overrides.top_k) json["top_k"] = *settings.overrides.top_k;
  if (settings.overrides.objective) {
    json["objective"] = networks::to_word(*settings.overrides.objective);
  }
  if (settings.overrides.weights) {
    json["weights"] = formats::to_word(*settings.overrides.weights);
  }
  if (settings.columns > 0) json["columns"] = settings.columns;
  if (settings.scale > 0) json["scale"] = settings.scale;
  return json;
}

PictureSettings picture_settings_from_json(const base::Json& json, const std::string& source) {
  const Reader reader(json, source);
  PictureSettings settings;
  GenerateRequest& request = settings.request;
  std::string channels;
  reader.require("model", settings.model);
  reader.read("vae", settings.vae);
  reader.require("sampler", request.sampler);
  find_sampler(request.sampler, source + ": ");
  reader.require("steps", request.steps);
  reader.require("cfg", request.guidance.scale);
  reader.require("cfg_channels", channels);
  if (channels != "3" && channels != "all") {
    base::bad_input("{}: key 'cfg_channels': expected \"3\" or \"all\", found {}",
                    source,
                    base::quoted(channels));
  }
  reader.require("seed", request.seed);
  reader.require("first_image", request.first_image);
  reader.require("labels", request.labels);
  std::string dtype;
  reader.read("dtype", dtype);
  if (!dtype.empty()) settings.precision = kernels::precision_from(dtype, source + ": dtype");
  read_interval(reader, source, request.guidance.interval);
  reader.read("heads", settings.overrides.heads);
  reader.read("top_k", settings.overrides.top_k);
  reader.read("columns", settings.columns);
  reader.read("scale", settings.scale);
  check_range(source, "columns", settings.columns, kMostColumns);
  check_range(source, "scale", settings.scale, kMostScale);
  request.guidance.all_channels = all_channels_from(channels);
  if (json.contains("objective")) {
    std::string word;
    reader.require("objective", word);
    settings.overrides.objective = networks::objective_from(word, source + ": objective");
  }
  if (json.contains("weights")) {
    std::string word;
    reader.require("weights", word);
    settings.overrides.weights = formats::weight_set_from(word, source + ": weights");
  }
  return settings;
}

PictureSettings read_picture_settings(const std::string& png_path) {
  const formats::Image image = formats::read_png(png_path);
  for (const auto& [keyword, text] : image.text) {
    if (keyword != kSettingsKeyword) continue;
    const std::string source = png_path + ": text '" + kSettingsKeyword + "'";
    return picture_settings_from_json(base::parse_json(text, source), source);
  }
  base::bad_input("{}: no sampling settings inside (expected a PNG written by ditmoe)", png_path);
}

std::vector<std::pair<std::string, std::string>> picture_text(const PictureSettings& settings,
                                                              const networks::ModelFile& model,
                                                              int64_t image_size) {
  const GenerateRequest& request = settings.request;
  const bool whole = request.guidance.interval == diffusion::Guidance::Interval{};
  const std::string parameters = fmt::format(
      "{}\nSteps: {}, Sampler: {}, CFG scale: {} ({} channels{}), Seed: {}, Image: {}, "
      "Size: {}x{}, Model: {}{}, Version: ditmoe {}",
      label_list(request, model),
      request.steps,
      request.sampler,
      request.guidance.scale,
      guided_channels_word(request.guidance.all_channels),
      whole ? "" : ", noise levels " + interval_words(request.guidance.interval),
      request.seed,
      request.first_image,
      image_size,
      image_size,
      settings.model,
      settings.vae.empty() ? "" : ", VAE: " + settings.vae,
      base::version());
  return {{kSettingsKeyword, to_json(settings).dump()}, {"parameters", parameters}};
}

}  // namespace ditmoe::pipeline
