#include "apps/ditmoe/inspect.h"

#include <memory>

#include "ditmoe/base/error.h"
#include "ditmoe/base/memory.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::apps {
namespace {

using networks::DitConfig;
using networks::FeedForward;

struct Options {
  std::string file;
  std::string preset;
  bool table = false;
  bool tensors = false;
  OverrideOptions overrides;
  TrainingOptions training;
  CommonOptions common;
};

// Bytes per weight of the element types a network can be stored in.
constexpr std::pair<const char*, int64_t> kWeightTypes[] = {{"f32", 4}, {"bf16", 2}, {"int8", 1}};

std::string describe_experts(const DitConfig& config) {
  if (config.time_experts > 0) {
    return fmt::format("{} before each layer, chosen by time, top {}; dense {}, width {}",
                       config.time_experts,
                       config.time_top_k,
                       config.feed_forward == FeedForward::kGelu ? "MLP with GELU" : "SwiGLU",
                       config.dense_width());
  }
  if (config.feed_forward == FeedForward::kGelu) {
    return fmt::format("none: dense MLP with GELU, width {}", config.dense_width());
  }
  if (config.feed_forward == FeedForward::kSwiglu) {
    return fmt::format("none: dense SwiGLU, width {}", config.dense_width());
  }
  int64_t sparse = 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) sparse += config.is_moe(layer) ? 1 : 0;
  return fmt::format("{} routed of width {}, top {}; {} shared, width {}; in {} of {} layers",
                     config.experts,
                     config.routed_width(),
                     config.top_k,
                     config.shared_experts,
                     config.shared_width(),
                     sparse,
                     config.depth);
}

void print_config(const DitConfig& config) {
  print_line("input",
             fmt::format("{} channels of {}x{}, patch {}: {} tokens",
                         config.channels,
                         config.image_size,
                         config.image_size,
                         config.patch_size,
                         config.tokens()));
  print_line("network",
             fmt::format("{} layers, width {}, {} heads{}",
                         config.depth,
                         config.width,
                         config.heads,
                         config.qk_norm ? ", normalised queries and keys" : ""));
  print_line("experts", describe_experts(config));
  print_line("objective",
             fmt::format("{}{}",
                         config.objective == networks::Objective::kDdpm ? "DDPM" : "rectified flow",
                         config.learn_sigma ? ", predicts its variance" : ""));
}

void print_costs(const DitConfig& config) {
  const int64_t total = networks::total_parameters(config);
  const int64_t activated = networks::activated_parameters(config);
  print_line("parameters",
             fmt::format("{} total, {} activated per token ({:.0f}%)",
                         with_separators(total),
                         with_separators(activated),
                         100.0 * static_cast<double>(activated) / static_cast<double>(total)));
  print_line("compute",
             fmt::format("{:.4g} GMAC per image and step",
                         static_cast<double>(networks::forward_macs(config)) * 1e-9));
  std::string weights;
  for (const auto& [name, bytes] : kWeightTypes) {
    if (!weights.empty()) weights += ", ";
    weights += fmt::format("{} as {}", base::bytes_text(total * bytes), name);
  }
  print_line("weights", weights);
}

base::Json costs_json(const DitConfig& config) {
  base::Json json;
  const int64_t total = networks::total_parameters(config);
  json["config"] = networks::to_json(config);
  json["total_parameters"] = total;
  json["activated_parameters"] = networks::activated_parameters(config);
  json["forward_macs"] = networks::forward_macs(config);
  for (const auto& [name, bytes] : kWeightTypes) json["weight_bytes"][name] = total * bytes;
  return json;
}

base::Json sampling_json(const networks::SamplingDefaults& sampling) {
  return {{"sampler", sampling.sampler},
          {"steps", sampling.steps},
          {"cfg", sampling.cfg},
          {"cfg_channels", sampling.cfg_channels}};
}

void inspect_file_json(const networks::ModelFile& model,
                       const formats::TensorFile& file,
                       const TrainingOptions& training) {
  base::Json json = {{"file", model.path()}};
  json.update(costs_json(model.config()));
  json["format"] = formats::name_of(file.format());
  json["dtype"] = base::name_of(model.dtype());
  json["class_names"] = model.class_names();
  json["sampling"] = sampling_json(model.sampling());
  json["metadata"] = model.metadata();
  json["tensors"] = tensors_json(file);
  if (training.wanted) json["training"] = training_json(model.config(), training);
  print_json(json);
}

void print_file_details(const networks::ModelFile& model,
                        const formats::TensorFile& file,
                        bool with_tensors) {
  const networks::SamplingDefaults& sampling = model.sampling();
  print_line("sampling",
             fmt::format("{}, {} steps, guidance {} ({} channels) unless told otherwise",
                         sampling.sampler,
                         sampling.steps,
                         sampling.cfg,
                         sampling.cfg_channels));
  std::string classes = std::to_string(model.config().num_classes);
  if (!model.class_names().empty()) {
    classes += base::escaped(fmt::format(": {}", fmt::join(model.class_names(), ", ")));
  }
  print_line("classes", classes);
  for (const auto& [key, value] : model.metadata()) {
    if (!key.starts_with("ditmoe.")) print_line("metadata", base::escaped(key + ": " + value));
  }
  print_tensors(file, with_tensors);
}

void inspect_file(const Options& options) {
  // --weights chooses among those of a transformer.
  const bool may_be_other = !options.overrides.weights;
  if (may_be_other &&
      inspect_other(options.file, options.overrides.any(), options.tensors, options.common.json)) {
    return;
  }
  const auto model = networks::ModelFile::open(options.file, options.overrides.over());
  const formats::TensorFile& file = *model.file();
  if (options.common.json) return inspect_file_json(model, file, options.training);
  print_title(options.file, file);
  print_config(model.config());
  print_costs(model.config());
  if (options.training.wanted) print_training(model.config(), options.training);
  print_file_details(model, file, options.tensors);
}

void inspect_preset(const Options& options) {
  const DitConfig config = networks::preset(options.preset);
  const std::vector<networks::TensorSpec> specs = networks::tensor_specs(config);
  if (options.common.json) {
    base::Json json = {{"preset", options.preset}};
    json.update(costs_json(config));
    json["tensors"] = base::Json::array();
    for (const networks::TensorSpec& spec : specs) {
      json["tensors"].push_back({{"name", spec.name}, {"shape", spec.shape}});
    }
    if (options.training.wanted) json["training"] = training_json(config, options.training);
    print_json(json);
    return;
  }
  fmt::print("{} (for images of 256x256 pixels)\n", options.preset);
  print_config(config);
  print_costs(config);
  if (options.training.wanted) print_training(config, options.training);
  print_line("tensors",
             std::to_string(specs.size()) + (options.tensors ? "" : " (--tensors lists them)"));
  if (!options.tensors) return;
  for (const networks::TensorSpec& spec : specs) {
    fmt::print("    {:<48} {}\n", spec.name, base::to_string(spec.shape));
  }
}

void inspect_table(const Options& options) {
  base::Json json = {{"presets", base::Json::array()}};
  if (!options.common.json) {
    fmt::print("{:<12}{:>7}{:>7}{:>7}{:>9}{:>17}{:>16}{:>9}{:>11}\n",
               "preset",
               "layers",
               "width",
               "heads",
               "experts",
               "parameters",
               "activated",
               "GMAC",
               "bf16");
  }
  for (const std::string& name : networks::preset_names()) {
    const DitConfig config = networks::preset(name);
    const int64_t total = networks::total_parameters(config);
    if (options.common.json) {
      base::Json row = {{"preset", name}};
      row.update(costs_json(config));
      json["presets"].push_back(row);
      continue;
    }
    const bool sparse = config.feed_forward == FeedForward::kMoe;
    fmt::print("{:<12}{:>7}{:>7}{:>7}{:>9}{:>17}{:>16}{:>9.2f}{:>11}\n",
               name,
               config.depth,
               config.width,
               config.heads,
               sparse ? fmt::format("{}/{}", config.top_k, config.experts) : "dense",
               with_separators(total),
               with_separators(networks::activated_parameters(config)),
               static_cast<double>(networks::forward_macs(config)) * 1e-9,
               base::bytes_text(2 * total));
  }
  if (options.common.json) print_json(json);
}

void run(Options& options) {
  options.training.settings.precision = kernels::precision_from(options.training.dtype, "--dtype");
  const int things =
      (options.file.empty() ? 0 : 1) + (options.preset.empty() ? 0 : 1) + (options.table ? 1 : 0);
  if (things != 1) base::bad_input("inspect: expected exactly one of FILE, --preset and --table");
  if (options.table) return inspect_table(options);
  if (!options.preset.empty()) return inspect_preset(options);
  inspect_file(options);
}

}  // namespace

void add_inspect(CLI::App& app, Commands& commands) {
  CLI::App* inspect =
      app.add_subcommand("inspect", "Show a model's configuration, parameters, cost and tensors");
  const auto options = std::make_shared<Options>();
  inspect->add_option("FILE",
                      options->file,
                      "A safetensors or PyTorch checkpoint or a diffusers folder, of a diffusion\n"
                      "transformer, an autoencoder or a classifier; its weights are not read");
  inspect
      ->add_option("--preset", options->preset, "Instead of a file: a configuration of the paper")
      ->option_text("NAME");
  inspect->add_flag(
      "--table", options->table, "Instead of a file: all configurations of the paper");
  inspect->add_flag("--tensors", options->tensors, "List all tensors with their shapes");
  add_training(*inspect, options->training);
  add_json(*inspect, options->common);
  add_overrides(*inspect, options->overrides);
  inspect->footer(
      "Examples:\n"
      "  ditmoe inspect models/fashion-moe.safetensors\n"
      "  ditmoe inspect --preset G/2-16E2A --json\n"
      "  ditmoe inspect --preset XL/2-8E2A --training --batch 8 --accumulation 32\n"
      "  ditmoe inspect --table");
  commands.push_back({inspect, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
