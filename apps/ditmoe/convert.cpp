#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/networks/packed_file.h"
#include "ditmoe/networks/weight_source.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::vector<std::string> files;  // IN OUT, or OUT alone
  bool random = false;
  std::string preset;
  std::optional<uint64_t> seed;
  OverrideOptions overrides;
  ComputeOptions compute;
  CommonOptions common;
};

void convert_random(const Options& options, kernels::Precision precision, base::ThreadPool& pool) {
  const networks::DitConfig config = networks::preset(options.preset);
  const networks::RandomWeights weights(config, options.seed.value_or(0));
  networks::write_packed(
      options.files.back(),
      weights,
      precision,
      networks::write_metadata(config, {}, networks::default_sampling(config.objective)),
      pool);
}

void convert_file(const Options& options, kernels::Precision precision, base::ThreadPool& pool) {
  const auto model = networks::ModelFile::open(options.files.front(), options.overrides.over());
  if (model.packed()) {
    base::bad_input("{}: is packed already, in {}; convert the file it was made from",
                    model.path(),
                    kernels::to_word(*model.packed()));
  }
  networks::write_packed(
      options.files.back(),
      networks::FileWeights(model),
      precision,
      networks::write_metadata(model.config(), model.class_names(), model.sampling()),
      pool);
}

void run(const Options& options) {
  options.common.start_logging();
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
  formats::expect_writable(options.files.back());
  std::error_code ignored;  // of names that are no file yet
  if (!options.random && std::filesystem::equivalent(options.files[0], options.files[1], ignored)) {
    base::bad_input("{}: is the file to convert; write to another", options.files[1]);
  }
  const kernels::Precision precision =
      options.compute.precision().value_or(kernels::Precision::kBf16);
  base::ThreadPool pool(options.common.threads);
  if (options.random) {
    convert_random(options, precision, pool);
  } else {
    convert_file(options, precision, pool);
  }
  fmt::print("{}: packed in {}\n", options.files.back(), kernels::to_word(precision));
}

}  // namespace

void add_convert(CLI::App& app, Commands& commands) {
  CLI::App* convert = app.add_subcommand(
      "convert", "Round and pack a model's weights, so that they are used as they stand on disk");
  const auto options = std::make_shared<Options>();
  convert->add_option("FILES", options->files, "The file to read and the file to write")
      ->option_text("IN OUT (required)")
      ->required();
  convert->add_option("--dtype", options->compute.dtype, "Type of the weights (default: bf16)")
      ->option_text("f32|bf16|int8");
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
      "  ditmoe convert models/fashion-moe.safetensors fashion-int8.safetensors --dtype int8\n"
      "  ditmoe convert --random --preset G/2-16E2A --dtype int8 g2-int8.safetensors");
  commands.push_back({convert, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
