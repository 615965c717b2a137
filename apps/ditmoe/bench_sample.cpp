#include <memory>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/model_session.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/ditmoe/bench.h"
#include "apps/ditmoe/measurement.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string model;
  int64_t count = 32;
  int64_t batch = 0;
  std::string memory;
  SamplingOptions sampling;
  OverrideOptions overrides;
  BenchOptions bench;
};

constexpr int64_t kRepetitions = 3;

void run(const Options& options) {
  const CommonOptions& common = options.bench.common;
  common.start_logging();
  std::optional<uint64_t> memory;
  if (!options.memory.empty()) memory = memory_from(options.memory);
  base::ThreadPool pool(common.threads);
  pipeline::ModelSession session(
      options.model, options.overrides.over(), {options.bench.precision.or_else(), memory}, pool);
  pipeline::GenerateRequest request = pipeline::default_request(session.model());
  options.sampling.apply(session.model(), request);
  request.labels = pipeline::cycle_labels(session.parse_labels("all"), options.count);
  request.batch = options.batch;
  Timings loading;
  loading.measure([&] { session.executor(); });
  const ForeignLoad load;
  Timings timings;
  const int64_t repetitions =
      options.bench.repetitions > 0 ? options.bench.repetitions : kRepetitions;
  for (int64_t i = 0; i < repetitions; ++i) {
    timings.measure([&] { session.generate(request); });
  }
  const double images_per_second = static_cast<double>(options.count) / timings.median();
  base::Json json = machine_json(pool.size());
  json["model"] = options.model;
  json["dtype"] = kernels::to_word(session.precision());
  json["sampler"] = request.sampler;
  json["steps"] = request.steps;
  json["cfg"] = request.guidance.scale;
  json["count"] = options.count;
  json.update(timings.json());
  json["images_per_second"] = images_per_second;
  json["ms_per_step"] = 1e3 * timings.median() / static_cast<double>(request.steps);
  json["loading_ms"] = 1e3 * loading.median();
  json["foreign_load"] = load.cpus();
  fmt::print(
      "{} {}: {} with {}, guidance {}: {:.2f} images/s, {:.1f} ms a step; loaded in {:.1f} s\n",
      options.model,
      kernels::to_word(session.precision()),
      request.sampler,
      counted(request.steps, "step"),
      request.guidance.scale,
      images_per_second,
      json["ms_per_step"].get<double>(),
      loading.median());
  if (common.json) print_json(json);
}

}  // namespace

void add_bench_sample(CLI::App& bench, Commands& commands) {
  CLI::App* sample = bench.add_subcommand("sample", "Drawing images from a model");
  const auto options = std::make_shared<Options>();
  sample->add_option("MODEL", options->model, "A safetensors file")
      ->option_text("(required)")
      ->required();
  sample->add_option("--count", options->count, "Images to draw (default: 32)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  sample->add_option("--batch", options->batch, "Images at a time (default: up to 32)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
  sample->add_option("--memory", options->memory, "As sample has it (default: what is free)")
      ->option_text("SIZE");
  add_sampling(*sample, options->sampling);
  add_bench_options(*sample, options->bench);
  add_overrides(*sample, options->overrides);
  sample->footer(
      "Example:\n"
      "  ditmoe bench sample models/fashion-moe.safetensors --count 64 --dtype bf16");
  commands.push_back({sample, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
