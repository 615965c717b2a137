#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>

#include "ditmoe/base/arena.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/formats/direct_file.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/model_session.h"
#include "ditmoe/pipeline/settings.h"

#include "apps/command_line/measurement.h"
#include "apps/ditmoe/bench.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string model;
  int64_t count = 32;
  int64_t batch = 0;
  SamplingOptions sampling;
  OverrideOptions overrides;
  BenchOptions bench;
};

constexpr int64_t kRepetitions = 3;

// Reads pieces all over a file past the page cache, as experts are streamed; bytes a second.
double disk_rate(const std::string& path) {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kLargestPiece = uint64_t{256} << 20;
  constexpr uint64_t kReads = 16;
  const auto file = formats::DirectFile::open(path);
  const uint64_t size = std::filesystem::file_size(path);
  const uint64_t piece = std::min(kLargestPiece, size / kPage * kPage);
  const uint64_t reads = std::min(kReads, size / piece);
  base::Arena arena;
  const std::span<std::byte> buffer(arena.take(piece), piece);
  Timings timings;
  for (uint64_t i = 0; i < reads; ++i) {
    const uint64_t offset = i * (size / piece) / reads * piece;
    timings.measure([&] { file.read(offset, buffer); });
  }
  return static_cast<double>(piece * reads) / timings.total();
}

// What a forward took of what the disk needs for the experts it reads.
void report_streaming(const Options& options,
                      uint64_t streamed,
                      double forward_seconds,
                      base::Json& json) {
  const double rate = disk_rate(options.model);
  const double disk_seconds = static_cast<double>(streamed) / rate;
  json["streamed_bytes_per_forward"] = streamed;
  json["disk_bytes_per_second"] = rate;
  json["forward_over_disk"] = forward_seconds / disk_seconds;
  fmt::print(
      "  {:.1f} GB of experts read in each forward; the disk alone, at {:.2f} GB/s, needs "
      "{:.1f} s: {:.2f} times that\n",
      static_cast<double>(streamed) * 1e-9,
      rate * 1e-9,
      disk_seconds,
      forward_seconds / disk_seconds);
}

void run(const Options& options) {
  const CommonOptions& common = options.bench.common;
  common.start_logging();
  base::ThreadPool pool(common.threads);
  pipeline::ModelSession session(
      options.model, options.overrides.over(), options.bench.compute.session(), pool);
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
  int64_t steps = 0;  // of all batches
  const int64_t forwards_before = session.executor().forwards();
  for (int64_t i = 0; i < repetitions; ++i) {
    timings.measure(
        [&] { session.generate(request, [&](int64_t, int64_t total) { steps = total; }); });
  }
  const int64_t forwards = (session.executor().forwards() - forwards_before) / repetitions;
  const double images_per_second = static_cast<double>(options.count) / timings.median();
  base::Json json = machine_json(pool.size());
  json["model"] = options.model;
  json["dtype"] = kernels::to_word(session.precision());
  json.update(pipeline::sampling_json(request));
  json["count"] = options.count;
  json["batch"] =
      request.batch > 0 ? request.batch : pipeline::default_batch(session.executor().input_shape());
  if (options.bench.compute.memory) json["memory"] = *options.bench.compute.memory;
  json.update(timings.json());
  json["images_per_second"] = images_per_second;
  json["ms_per_step"] = 1e3 * timings.median() / static_cast<double>(steps);
  json["forwards"] = forwards;
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
  const uint64_t streamed = session.executor().streamed_bytes();
  if (streamed > 0) {
    report_streaming(options, streamed, timings.median() / static_cast<double>(forwards), json);
  }
  if (common.json) print_json(json);
}

}  // namespace

void add_bench_sample(CLI::App& bench, Commands& commands) {
  CLI::App* sample = bench.add_subcommand("sample", "Drawing images from a model");
  const auto options = std::make_shared<Options>();
  sample->add_option("MODEL", options->model, kModelText)->option_text("(required)")->required();
  sample->add_option("--count", options->count, "Images to draw (default: 32)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  sample->add_option("--batch", options->batch, "Images at a time (default: up to 32)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
  add_memory(*sample, options->bench.compute);
  add_sampling(*sample, options->sampling);
  add_bench_options(*sample,
                    options->bench,
                    std::to_string(kRepetitions),
                    "the file's where this CPU has it, else f32");
  add_overrides(*sample, options->overrides);
  sample->footer(
      "Example:\n"
      "  ditmoe bench sample models/fashion-moe.safetensors --count 64 --dtype bf16");
  commands.push_back({sample, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
