#include "apps/command_line/options.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/diffusion/sampler.h"
#include "ditmoe/pipeline/settings.h"

namespace ditmoe::apps {
namespace {

std::string sampler_names() {
  std::string names;
  for (const diffusion::SamplerInfo& info : diffusion::known_samplers()) {
    if (!names.empty()) names += "|";
    names += info.name;
  }
  return names;
}

constexpr uint64_t kMaxThreads = 1024;
constexpr uint64_t kMaxHeads = 1 << 20;  // a first bound; the configuration knows better

// What --sampler can be, a line each.
std::string sampler_list() {
  std::string list = "How noise becomes images (default: the model's)";
  for (const bool rectified_flow : {false, true}) {
    list += rectified_flow ? "\nfor rectified flow:" : "\nfor DDPM models:";
    for (const diffusion::SamplerInfo& info : diffusion::known_samplers()) {
      if (info.rectified_flow != rectified_flow) continue;
      list += fmt::format("\n  {:<6}{:>3} steps: {}", info.name, info.default_steps, info.summary);
    }
  }
  return list;
}

}  // namespace

CLI::Validator whole_number(uint64_t first, uint64_t last) {
  const auto check = [first, last](const std::string& text) -> std::string {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && rest == end && value >= first && value <= last) return "";
    const std::string range = last == std::numeric_limits<uint64_t>::max()
                                  ? fmt::format("of at least {}", first)
                                  : fmt::format("from {} to {}", first, last);
    return fmt::format("expected a whole number {}, found {}", range, base::quoted(text));
  };
  return CLI::Validator(check, "");
}

void CommonOptions::start_logging() const {
  base::start_logging(verbose ? base::LogLevel::kVerbose
                      : quiet ? base::LogLevel::kQuiet
                              : base::LogLevel::kNormal);
}

void add_logging(CLI::App& app, CommonOptions& options) {
  app.add_flag("-v,--verbose", options.verbose, "Tell more on stderr; wins over --quiet");
  app.add_flag("-q,--quiet", options.quiet, "Only warnings on stderr, no progress");
}

void add_json(CLI::App& app, CommonOptions& options) {
  app.add_flag("--json", options.json, "Print one JSON object as the last line of stdout");
}

void add_threads(CLI::App& app, CommonOptions& options) {
  app.add_option("--threads", options.threads, "Threads to use (default: one per CPU)")
      ->option_text("N")
      ->check(whole_number(1, kMaxThreads));
}

networks::ModelOverrides OverrideOptions::over(networks::ModelOverrides base) const {
  if (heads) base.heads = heads;
  if (top_k) base.top_k = top_k;
  if (objective) base.objective = networks::objective_from(*objective, "--objective");
  if (weights) base.weights = formats::weight_set_from(*weights, "--weights");
  return base;
}

void add_overrides(CLI::App& app,
                   OverrideOptions& options,
                   bool with_objective,
                   const std::string& top_k) {
  constexpr const char* kGroup = "For files that do not carry their configuration";
  app.add_option("--heads", options.heads, "Attention heads (default: as the file tells)")
      ->option_text("N")
      ->check(whole_number(1, kMaxHeads))
      ->group(kGroup);
  app.add_option(top_k, options.top_k, "Experts per token (default: as the file tells, or 2)")
      ->option_text("N")
      ->check(whole_number(1, kMaxHeads))
      ->group(kGroup);
  app.add_option("--weights",
                 options.weights,
                 "Which weights of a training checkpoint (default: ema where it has\n"
                 "them)")
      ->option_text("ema|model")
      ->group(kGroup);
  if (!with_objective) return;
  app.add_option("--objective",
                 options.objective,
                 "What the network predicts: noise, or the velocity of a rectified\n"
                 "flow (default: as the file tells)")
      ->option_text("ddpm|rf")
      ->group(kGroup);
}

namespace {

uint64_t memory_from(const std::string& text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string unit(rest, end);
  int shift = -1;
  if (unit.empty()) shift = 0;
  if (unit == "K") shift = 10;
  if (unit == "M") shift = 20;
  if (unit == "G") shift = 30;
  if (error != std::errc() || shift < 0 || value == 0 || value > (uint64_t{1} << 50 >> shift)) {
    base::bad_input("--memory: expected a size like 12G or 800M, found {}", base::quoted(text));
  }
  return value << shift;
}

}  // namespace

std::optional<kernels::Precision> ComputeOptions::precision() const {
  if (!dtype) return std::nullopt;
  return kernels::precision_from(*dtype, "--dtype");
}

pipeline::SessionOptions ComputeOptions::session(std::optional<kernels::Precision> repeated) const {
  pipeline::SessionOptions session;
  session.precision = dtype ? precision() : repeated;
  if (memory) session.memory = memory_from(*memory);
  return session;
}

void add_precision(CLI::App& app, ComputeOptions& options, const std::string& otherwise) {
  app.add_option(
         "--dtype", options.dtype, fmt::format("Type to compute in (default: {})", otherwise))
      ->option_text("f32|bf16|int8");
}

void add_memory(CLI::App& app, ComputeOptions& options) {
  app.add_option("--memory",
                 options.memory,
                 "What may be taken, as 12G: experts of a packed model that do not fit\n"
                 "are read from disk as they are needed (default: what is free); 768M\n"
                 "of it are set aside for all but weights")
      ->option_text("SIZE");
}

void add_probe_files(CLI::App& app, ProbeFiles& files, const char* input, const char* output) {
  app.add_option("MODEL", files.model, kModelText)->option_text("(required)")->required();
  app.add_option("--in", files.input, input)->option_text("FILE.npz (required)")->required();
  app.add_option("--out", files.output, output)->option_text("FILE.npz (required)")->required();
}

void SamplingOptions::apply(const networks::ModelFile& model,
                            pipeline::GenerateRequest& request) const {
  if (sampler) {
    if (*sampler != request.sampler) request.steps = pipeline::default_steps(model, *sampler);
    request.sampler = *sampler;
  }
  if (steps) request.steps = *steps;
  if (cfg) request.guidance.scale = *cfg;
  if (cfg_channels) request.guidance.all_channels = pipeline::all_channels_from(*cfg_channels);
  if (cfg_interval) request.guidance.interval = pipeline::interval_from(*cfg_interval);
}

void add_sampling(CLI::App& app, SamplingOptions& options) {
  app.add_option("--sampler", options.sampler, sampler_list())->option_text(sampler_names());
  app.add_option(
         "--steps",
         options.steps,
         "Steps of the sampler (default: the model's for its own sampler, else as\nlisted there)")
      ->option_text("N");
  app.add_option("--cfg",
                 options.cfg,
                 "Guidance scale: 1 is none, more follows the label more closely\n"
                 "(default: the model's)")
      ->option_text("S");
  app.add_option("--cfg-channels",
                 options.cfg_channels,
                 "Guide the first three channels or all (default: the model's)")
      ->option_text("3|all");
  app.add_option("--cfg-interval",
                 options.cfg_interval,
                 "Guide only at noise levels from LO to HI, of 0 (image) to 1 (noise);\n"
                 "steps outside take half the work (default: 0,1)")
      ->option_text("LO,HI");
}

void print_json(const base::Json& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, base::Json::error_handler_t::replace));
}

std::string counted(int64_t count, const std::string& noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string with_separators(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto position = static_cast<int64_t>(digits.size()) - 3; position > 0; position -= 3) {
    digits.insert(static_cast<size_t>(position), 1, ',');
  }
  return digits;
}

std::string file_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

}  // namespace ditmoe::apps
