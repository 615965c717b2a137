#include "apps/ditmoe/bench.h"

#include <memory>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/kernels/roof.h"

#include "apps/command_line/measurement.h"

namespace ditmoe::apps {
namespace {

constexpr int64_t kRoofRepetitions = 20;

void run_roof(const BenchOptions& options) {
  using kernels::Precision;
  options.common.start_logging();
  base::ThreadPool pool(options.common.threads);
  std::vector<Precision> precisions = {Precision::kF32, Precision::kBf16, Precision::kInt8};
  if (const auto one = options.compute.precision()) precisions = {*one};
  base::Json json = machine_json(pool.size());
  const kernels::Matmul matmul(1);
  for (const Precision precision : precisions) {
    if (!options.compute.dtype && matmul.computed(precision) != precision) continue;
    kernels::Roof roof(precision, pool);
    const ForeignLoad load;
    const int64_t repetitions = options.repetitions > 0 ? options.repetitions : kRoofRepetitions;
    for (int64_t i = 0; i < repetitions; ++i) roof.measure();
    const std::string word(kernels::to_word(precision));
    json["roof"][word] = {{"gflops", roof.best()}, {"foreign_load", load.cpus()}};
    fmt::print("{:<5} {:8.0f} GFLOP/s\n", word, roof.best());
  }
  if (options.common.json) print_json(json);
}

void add_roof(CLI::App& bench, Commands& commands) {
  CLI::App* roof = bench.add_subcommand("roof", "How fast this machine multiplies");
  const auto options = std::make_shared<BenchOptions>();
  add_bench_options(*roof, *options, std::to_string(kRoofRepetitions), "all that this CPU has");
  roof->footer("Example:\n  ditmoe bench roof --json");
  commands.push_back({roof, [options] { run_roof(*options); }});
}

}  // namespace

void add_bench_options(CLI::App& app,
                       BenchOptions& options,
                       const std::string& repetitions,
                       const std::string& dtype) {
  app.add_option("--repetitions",
                 options.repetitions,
                 fmt::format("How often to measure (default: {})", repetitions))
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  add_precision(app, options.compute, dtype);
  add_threads(app, options.common);
  add_json(app, options.common);
  add_logging(app, options.common);
}

void add_bench(CLI::App& app, Commands& commands, const Arguments& arguments) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure speed, as a fraction of what this machine can do");
  bench->require_subcommand(1);
  add_roof(*bench, commands);
  add_bench_ops(*bench, commands);
  add_bench_forward(*bench, commands);
  add_bench_sample(*bench, commands);
  add_bench_precision(*bench, commands);
  add_bench_vae(*bench, commands);
  CLI::App* train = bench->add_subcommand(
      "train", "One training step: forward, backward, clipping, AdamW and EMA (runs ditmoe-train)");
  train->set_help_flag();
  train->prefix_command();
  commands.push_back({train, [arguments] { run_trainer(arguments); }});
}

}  // namespace ditmoe::apps
