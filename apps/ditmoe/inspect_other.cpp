#include <filesystem>

#include "ditmoe/base/error.h"
#include "ditmoe/base/memory.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/networks/classifier.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/vae_weights.h"

#include "apps/ditmoe/inspect.h"

namespace ditmoe::apps {
namespace {

// The image whose cost is told.
constexpr int64_t kImageSize = 256;

int64_t num_parameters(const std::vector<networks::TensorSpec>& specs) {
  int64_t count = 0;
  for (const networks::TensorSpec& spec : specs) count += base::num_elements(spec.shape);
  return count;
}

// Levels with attention behind their blocks, the image's first.
std::vector<int64_t> levels_with_attention(const networks::VaeConfig& config) {
  std::vector<int64_t> levels;
  for (int64_t level = 0; level < config.levels(); ++level) {
    if (config.level_attention[static_cast<size_t>(level)]) levels.push_back(level);
  }
  return levels;
}

std::string describe_attention(const networks::VaeConfig& config) {
  std::vector<std::string> places;
  if (config.middle_attention) places.emplace_back("in the middle");
  for (const int64_t level : levels_with_attention(config)) {
    places.push_back(fmt::format("behind the blocks of level {}", level));
  }
  return places.empty() ? "none" : fmt::format("{}", fmt::join(places, ", "));
}

struct VaeCosts {
  explicit VaeCosts(const networks::VaeConfig& config) {
    const int64_t side = kImageSize / config.factor();
    parameters = num_parameters(networks::tensor_specs(config));
    encode_macs = networks::encode_macs(config, side, side);
    decode_macs = networks::decode_macs(config, side, side);
  }

  int64_t parameters = 0;
  int64_t encode_macs = 0;
  int64_t decode_macs = 0;
};

base::Json vae_json(const std::string& path, const networks::VaeWeights& vae) {
  const networks::VaeConfig& config = vae.config();
  const VaeCosts costs(config);
  return {{"file", path},
          {"network", "autoencoder"},
          {"format", formats::name_of(vae.file()->format())},
          {"dtype", base::name_of(formats::main_dtype(*vae.file()))},
          {"config",
           {{"image_channels", config.image_channels},
            {"channels", config.channels},
            {"widths", config.widths},
            {"num_res_blocks", config.num_res_blocks},
            {"z_channels", config.z_channels},
            {"latent_channels", config.latent_channels},
            {"quant_conv", config.quant_conv},
            {"middle_attention", config.middle_attention},
            {"attention_levels", levels_with_attention(config)},
            {"groups", config.groups}}},
          {"pixels_per_latent", config.factor()},
          {"scaling_factor", vae.scaling_factor()},
          {"shift", vae.shift()},
          {"total_parameters", costs.parameters},
          {"encode_macs_256", costs.encode_macs},
          {"decode_macs_256", costs.decode_macs},
          {"tensors", tensors_json(*vae.file())}};
}

void print_vae(const std::string& path, const networks::VaeWeights& vae, bool list_tensors) {
  const networks::VaeConfig& config = vae.config();
  const VaeCosts costs(config);
  print_title(path, *vae.file());
  print_line("network",
             fmt::format("autoencoder with a KL posterior; {0} channels, {1}x{1} pixels a latent",
                         config.image_channels,
                         config.factor()));
  print_line("latents",
             fmt::format("{} channels, scaled by {:.6g}, shifted by {:.6g}",
                         config.latent_channels,
                         vae.scaling_factor(),
                         vae.shift()));
  print_line("levels",
             fmt::format("{}, of width {}; residual blocks in each: {} to encode, {} to decode",
                         config.levels(),
                         fmt::join(config.widths, ", "),
                         config.num_res_blocks,
                         config.num_res_blocks + 1));
  print_line("attention", describe_attention(config));
  print_line("parameters", with_separators(costs.parameters));
  print_line("compute",
             fmt::format("{:.4g} GMAC to encode {}x{} pixels, {:.4g} GMAC to decode them",
                         static_cast<double>(costs.encode_macs) * 1e-9,
                         kImageSize,
                         kImageSize,
                         static_cast<double>(costs.decode_macs) * 1e-9));
  print_tensors(*vae.file(), list_tensors);
}

base::Json classifier_json(const std::string& path,
                           const networks::ClassifierConfig& config,
                           const std::vector<std::string>& class_names,
                           const formats::TensorFile& file) {
  return {{"file", path},
          {"network", "classifier"},
          {"format", formats::name_of(file.format())},
          {"dtype", base::name_of(formats::main_dtype(file))},
          {"config", networks::to_json(config)},
          {"total_parameters", num_parameters(networks::tensor_specs(config))},
          {"class_names", class_names},
          {"tensors", tensors_json(file)}};
}

void print_classifier(const std::string& path,
                      const networks::ClassifierConfig& config,
                      const std::vector<std::string>& class_names,
                      const formats::TensorFile& file,
                      bool list_tensors) {
  print_title(path, file);
  print_line("network",
             fmt::format("classifier; {0} of {1}x{1} pixels",
                         counted(config.channels, "channel"),
                         config.image_size));
  print_line("layers",
             fmt::format("convolutions of width {}; {} features",
                         fmt::join(config.conv_widths, ", "),
                         config.feature_size));
  const std::string names =
      class_names.empty() ? "" : base::escaped(fmt::format(": {}", fmt::join(class_names, ", ")));
  print_line("classes", fmt::format("{}{}", config.num_classes, names));
  print_line("parameters", with_separators(num_parameters(networks::tensor_specs(config))));
  print_tensors(file, list_tensors);
}

void expect_no_overrides(bool is_overridden, const std::string& path, const char* found) {
  if (!is_overridden) return;
  base::bad_input(
      "{}: --heads, --top-k and --objective are for diffusion transformers, found {}", path, found);
}

}  // namespace

bool inspect_other(const std::string& path, bool is_overridden, bool list_tensors, bool as_json) {
  if (const auto vae = networks::find_vae(path)) {
    expect_no_overrides(is_overridden, path, "an autoencoder");
    if (as_json) {
      print_json(vae_json(path, *vae));
    } else {
      print_vae(path, *vae, list_tensors);
    }
    return true;
  }
  if (!std::filesystem::is_regular_file(path)) return false;  // a folder of diffusers
  const auto file = formats::TensorFile::open(path);
  const auto config = networks::read_classifier_config(file->metadata(), path);
  if (!config) return false;
  expect_no_overrides(is_overridden, path, "a classifier");
  const auto names = networks::read_class_names(file->metadata(), config->num_classes, path);
  if (as_json) {
    print_json(classifier_json(path, *config, names, *file));
  } else {
    print_classifier(path, *config, names, *file, list_tensors);
  }
  return true;
}

void print_line(const char* key, const std::string& value) {
  fmt::print("  {:<12}{}\n", key, value);
}

void print_title(const std::string& path, const formats::TensorFile& file) {
  int64_t bytes = 0;
  for (const formats::TensorEntry& entry : file.entries()) {
    bytes += static_cast<int64_t>(entry.bytes);
  }
  fmt::print("{} ({}, {} of weights, mostly {})\n",
             base::escaped(path),
             formats::name_of(file.format()),
             base::bytes_text(bytes),
             base::name_of(formats::main_dtype(file)));
}

void print_tensors(const formats::TensorFile& file, bool list) {
  print_line("tensors",
             std::to_string(file.entries().size()) + (list ? "" : " (--tensors lists them)"));
  if (!list) return;
  for (const formats::TensorEntry& entry : file.entries()) {
    fmt::print("    {:<48} {:<5} {}\n",
               base::escaped(entry.name),
               base::name_of(entry.dtype),
               base::to_string(entry.shape));
  }
}

base::Json tensors_json(const formats::TensorFile& file) {
  base::Json tensors = base::Json::array();
  for (const formats::TensorEntry& entry : file.entries()) {
    tensors.push_back({{"name", entry.name},
                       {"dtype", base::name_of(entry.dtype)},
                       {"shape", entry.shape},
                       {"bytes", entry.bytes}});
  }
  return tensors;
}

}  // namespace ditmoe::apps
