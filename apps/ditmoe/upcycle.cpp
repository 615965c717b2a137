#include "ditmoe/networks/upcycle.h"

#include <limits>
#include <memory>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/model_metadata.h"

#include "apps/ditmoe/command.h"
#include "apps/ditmoe/model_output.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string input;
  std::string output;
  networks::UpcycleOptions upcycle;
  std::optional<std::string> method;
  OverrideOptions overrides;
  OutputOptions written;
  CommonOptions common;
};

void run(const Options& options) {
  options.common.start_logging();
  options.written.check(options.output);
  const auto model = open_input(options.input, options.output, options.overrides.over());
  networks::UpcycleOptions upcycle = options.upcycle;
  if (options.method) upcycle.method = networks::upcycle_method_from(*options.method, "--method");
  const networks::UpcyclePlan plan = networks::plan_upcycle(model.config(), upcycle, model.path());
  if (plan.are_alike) {
    base::log_warning(
        "copies that do not differ learn alike: --noise and --router-std make them differ");
  } else if (plan.are_tied) {
    base::log_warning(
        "the router is 0, so that all tokens begin with the first {} of {} experts: --router-std "
        "makes it differ",
        plan.config.top_k,
        plan.config.experts);
  }
  const networks::FileWeights source(model);
  const networks::UpcycledWeights weights(source, plan);
  base::ThreadPool pool(options.common.threads);
  const std::string written = options.written.write(
      options.output,
      weights,
      networks::write_metadata(plan.config, model.class_names(), model.sampling()),
      model.path(),
      pool);
  fmt::print("{}: {}\n", options.output, written);
  fmt::print("{} experts, top {}, {} shared, {} parameters, {} activated\n",
             plan.config.experts,
             plan.config.top_k,
             plan.config.shared_experts,
             with_separators(networks::total_parameters(plan.config)),
             with_separators(networks::activated_parameters(plan.config)));
  // Other types, and the packed ones, round what is written.
  const bool is_rounded =
      options.written.is_packed() || options.written.dtype.value_or("f32") != "f32";
  fmt::print("output at the start: {} {}{}\n",
             plan.is_equal ? "equals that of" : "not that of",
             options.input,
             plan.is_equal && is_rounded ? ", but for the rounding of what is written" : "");
}

void add_construction(CLI::App& upcycle, Options& options) {
  constexpr uint64_t kMost = 1 << 20;
  networks::UpcycleOptions& numbers = options.upcycle;
  upcycle.add_option("--experts", numbers.experts, "Routed experts of each block")
      ->option_text("N (required)")
      ->required()
      ->check(whole_number(1, kMost));
  upcycle
      .add_option("--top-k",
                  numbers.top_k,
                  "Experts per token (default: 2; of a MoE, as many times more as\n"
                  "there will be experts)")
      ->option_text("K")
      ->check(whole_number(1, kMost));
  upcycle
      .add_option("--shared",
                  numbers.shared_experts,
                  "Shared experts (default: as many as take the dense network's SwiGLU;\n"
                  "0 for copies of it; a MoE's own)")
      ->option_text("S")
      ->check(whole_number(0, kMost));
  upcycle
      .add_option("--method",
                  options.method,
                  "shared: the dense SwiGLU becomes the shared experts, the routed ones\n"
                  "begin at an output of 0. copies: of the SwiGLU, or of each expert\n"
                  "(default: shared for a dense network, copies for a MoE)")
      ->option_text("shared|copies");
  upcycle
      .add_option("--expert-width",
                  numbers.expert_width,
                  "Of routed experts, with --method shared (default: 4 times the width)")
      ->option_text("F")
      ->check(whole_number(1, kMost));
  upcycle
      .add_option(
          "--noise", numbers.noise, "Deviation of copied weights, relative to each (default: 0)")
      ->option_text("SIGMA");
  upcycle
      .add_option("--router-std",
                  numbers.router_std,
                  "Deviation of the router's weights, or of copied ones from the first\n"
                  "(default: 0.02 with --method shared, else 0)")
      ->option_text("SIGMA");
  upcycle.add_option("--seed", numbers.seed, "Of both (default: 0)")
      ->option_text("N")
      ->check(whole_number(0, std::numeric_limits<uint64_t>::max()));
}

}  // namespace

void add_upcycle(CLI::App& app, Commands& commands) {
  CLI::App* upcycle = app.add_subcommand(
      "upcycle", "Make a sparse network of a dense one, or one with more experts");
  const auto options = std::make_shared<Options>();
  upcycle->add_option("IN", options->input, kModelText)->option_text("(required)")->required();
  upcycle->add_option("OUT", options->output, "The model to write")
      ->option_text("(required)")
      ->required();
  add_construction(*upcycle, *options);
  add_output(*upcycle, options->written);
  add_threads(*upcycle, options->common);
  add_logging(*upcycle, options->common);
  add_overrides(*upcycle, options->overrides, true, "--source-top-k");
  upcycle->footer(
      "Examples:\n"
      "  ditmoe upcycle dense.safetensors moe.safetensors --experts 8\n"
      "  ditmoe upcycle moe8.safetensors moe16.safetensors --experts 16 --noise 0.02");
  commands.push_back({upcycle, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
