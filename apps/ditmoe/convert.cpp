#include <limits>
#include <memory>
#include <optional>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/model_writer.h"

#include "apps/ditmoe/command.h"
#include "apps/ditmoe/model_output.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::vector<std::string> files;  // IN OUT, or OUT alone
  bool random = false;
  std::string preset;
  std::optional<uint64_t> seed;
  OverrideOptions overrides;
  OutputOptions output;
  CommonOptions common;
};

std::string convert_random(const Options& options, base::ThreadPool& pool) {
  const networks::DitConfig config = networks::preset(options.preset);
  if (options.output.is_diffusers()) networks::expect_diffusers_dit(config, options.preset);
  return options.output.write(
      options.files.back(),
      networks::RandomWeights(config, options.seed.value_or(0)),
      networks::write_metadata(config, {}, networks::default_sampling(config.objective)),
      options.preset,
      pool);
}

std::string convert_file(const Options& options, base::ThreadPool& pool) {
  const auto model =
      open_input(options.files.front(), options.files.back(), options.overrides.over());
  return options.output.write(
      options.files.back(),
      networks::FileWeights(model),
      networks::write_metadata(model.config(), model.class_names(), model.sampling()),
      model.path(),
      pool);
}

void run(Options options) {
  options.common.start_logging();
  // Random weights are for measurements, of packed files.
  if (options.random && !options.output.format) options.output.format = "packed";
  if (options.files.size() != (options.random ? 1U : 2U)) {
    base::bad_input("convert: expected {}, found {} names",
                    options.random ? "OUT alone beside --random" : "IN and OUT",
                    options.files.size());
  }
  if (options.random == options.preset.empty()) {
    base::bad_input("convert: --random and --preset go together");
  }
  if (!options.random && options.seed) base::bad_input("--seed: goes with --random");
  if (options.random && options.overrides.any()) {
    base::bad_input("--heads, --top-k, --objective: a preset has its own");
  }
  options.output.check(options.files.back());
  base::ThreadPool pool(options.common.threads);
  const std::string written =
      options.random ? convert_random(options, pool) : convert_file(options, pool);
  fmt::print("{}: {}\n", options.files.back(), written);
}

}  // namespace

void add_convert(CLI::App& app, Commands& commands) {
  CLI::App* convert =
      app.add_subcommand("convert", "Write a model in another format, type or packed for this CPU");
  const auto options = std::make_shared<Options>();
  convert->add_option("FILES", options->files, "The model to read and what to write")
      ->option_text("IN OUT (required)")
      ->required();
  add_output(*convert, options->output);
  convert->add_flag(
      "--random", options->random, "Random weights, for measurements: ditmoe convert --random OUT");
  convert->add_option("--preset", options->preset, "Configuration of the random network")
      ->option_text("NAME");
  convert->add_option("--seed", options->seed, "Of the random weights (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
  add_threads(*convert, options->common);
  add_logging(*convert, options->common);
  add_overrides(*convert, options->overrides);
  convert->footer(
      "Examples:\n"
      "  ditmoe convert checkpoint.pt model.safetensors --dtype f16\n"
      "  ditmoe convert DiT-XL-2-256x256.pt transformer --format diffusers\n"
      "  ditmoe convert models/fashion-moe.safetensors fashion-int8.safetensors --dtype int8\n"
      "  ditmoe convert --random --preset G/2-16E2A --dtype int8 g2-int8.safetensors");
  commands.push_back({convert, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
