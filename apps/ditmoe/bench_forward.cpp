#include <filesystem>
#include <memory>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/roof.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/profile.h"
#include "ditmoe/networks/weight_source.h"
#include "ditmoe/pipeline/model_session.h"

#include "apps/command_line/measurement.h"
#include "apps/ditmoe/bench.h"

namespace ditmoe::apps {
namespace {

struct Options {
  std::string network;
  int64_t batch = 8;
  bool profile = false;
  OverrideOptions overrides;
  BenchOptions bench;
};

// Where --repetitions is not given.
constexpr double kSeconds = 10.0;
constexpr size_t kLeastRepetitions = 7;

// A batch of noise; every call of next gives it times that no earlier one had, as the steps of a
// sampler do, so that the modulation is computed anew.
class Batch {
 public:
  Batch(const networks::DitConfig& config, int64_t images)
      : x_(static_cast<size_t>(images * config.channels * config.image_size * config.image_size)),
        t_(static_cast<size_t>(images)),
        out_(static_cast<size_t>(images * config.output_channels() * config.image_size *
                                 config.image_size)) {
    base::fill_normal(x_, {.seed = 1});
    for (int64_t image = 0; image < images; ++image) {
      y_.push_back(static_cast<int32_t>(image * 37 % config.num_classes));
    }
  }

  void predict(networks::DitExecutor& executor) {
    for (float& t : t_) t = static_cast<float>(next_++ % 100000) * 0.01f;
    executor.predict(x_, t_, y_, out_);
  }

 private:
  std::vector<float> x_;
  std::vector<float> t_;
  std::vector<int32_t> y_;
  std::vector<float> out_;
  int64_t next_ = 0;
};

base::Json profile_json(const networks::Profile& profile, uint64_t cycles_in_all, int threads) {
  base::Json json;
  uint64_t known = 0;
  const double whole = static_cast<double>(cycles_in_all) * threads;
  for (int i = 0; i < static_cast<int>(networks::Op::kCount); ++i) {
    const auto op = static_cast<networks::Op>(i);
    known += profile.cycles(op);
    json[std::string(name_of(op))] = static_cast<double>(profile.cycles(op)) / whole;
  }
  json["idle"] = 1.0 - static_cast<double>(known) / whole;
  return json;
}

void print_profile(const base::Json& profile, double median_ms) {
  for (const auto& [name, share] : profile.items()) {
    fmt::print("  {:<16}{:6.1f} %{:10.3f} ms\n",
               name,
               100 * share.get<double>(),
               median_ms * share.get<double>());
  }
}

// Time of the feed-forwards without their routing, and with all that threads waited.
double feed_forward_ms(const base::Json& profile, double median_ms) {
  double share = profile.at("idle");
  for (const auto op : {networks::Op::kGather,
                        networks::Op::kGateUp,
                        networks::Op::kDown,
                        networks::Op::kCombine}) {
    share += profile.at(std::string(name_of(op))).get<double>();
  }
  return share * median_ms;
}

// The network to time: a preset's with random weights, or a model file's.
class Network {
 public:
  Network(const Options& options, base::ThreadPool& pool) {
    const ComputeOptions& compute = options.bench.compute;
    if (!networks::is_preset(options.network)) {
      // A misspelt preset, rather than a file that is missing.
      const std::filesystem::path path = options.network;
      if (!path.has_extension() && !std::filesystem::exists(path))
        networks::preset(options.network);
      session_ = std::make_unique<pipeline::ModelSession>(
          options.network, options.overrides.over(), compute.session(), pool);
      config_ = session_->model().config();
      return;
    }
    if (compute.memory) {
      base::bad_input(
          "--memory: experts stream from a model file (convert --random makes one), "
          "found the preset {}",
          options.network);
    }
    if (options.overrides.any()) {
      base::bad_input("--heads, --top-k, --objective: a preset has its own");
    }
    config_ = networks::preset(options.network);
    random_ = std::make_unique<networks::DitExecutor>(
        networks::RandomWeights(config_, 0),
        networks::ExecutorOptions{.precision =
                                      compute.precision().value_or(kernels::Precision::kF32)},
        pool);
  }

  const networks::DitConfig& config() const { return config_; }

  networks::DitExecutor& executor() { return random_ ? *random_ : session_->executor(); }

 private:
  networks::DitConfig config_;
  std::unique_ptr<pipeline::ModelSession> session_;
  std::unique_ptr<networks::DitExecutor> random_;
};

void run(const Options& options) {
  const CommonOptions& common = options.bench.common;
  common.start_logging();
  base::ThreadPool pool(common.threads);
  Network network(options, pool);
  networks::DitExecutor& executor = network.executor();
  const kernels::Precision precision = executor.computed();
  kernels::Roof roof(precision, pool);
  Batch batch(network.config(), options.batch);
  for (int i = 0; i < 2; ++i) batch.predict(executor);

  const ForeignLoad load;
  Timings timings;
  uint64_t cycles = 0;
  const auto enough = [&] {
    if (options.bench.repetitions > 0) {
      return timings.count() >= static_cast<size_t>(options.bench.repetitions);
    }
    return timings.count() >= kLeastRepetitions && timings.total() > kSeconds;
  };
  while (!enough()) {
    roof.measure();
    batch.predict(executor);  // the roof has emptied the caches
    executor.profile().enable(options.profile);
    const uint64_t start = __rdtsc();
    timings.measure([&] { batch.predict(executor); });
    cycles += __rdtsc() - start;
    executor.profile().enable(false);
  }
  const double operations =
      2.0 * static_cast<double>(options.batch * networks::forward_macs(network.config()));
  const double rate = operations / timings.median() * 1e-9;
  base::Json json = machine_json(pool.size());
  json["network"] = options.network;
  json["dtype"] = kernels::to_word(precision);
  json["batch"] = options.batch;
  json.update(timings.json());
  json["ms_per_image"] = 1e3 * timings.median() / static_cast<double>(options.batch);
  json["gflops"] = rate;
  json["roof_gflops"] = roof.best();
  json["fraction_of_roof"] = rate / roof.best();
  json["foreign_load"] = load.cpus();
  fmt::print("{} {} batch {}: {:.2f} ms an image, {:.0f} GFLOP/s, {:.1f} % of the roof of {:.0f}\n",
             options.network,
             kernels::to_word(precision),
             options.batch,
             json["ms_per_image"].get<double>(),
             rate,
             100 * rate / roof.best(),
             roof.best());
  if (options.profile) {
    json["profile"] = profile_json(executor.profile(), cycles, pool.size());
    json["feed_forward_ms"] = feed_forward_ms(json["profile"], 1e3 * timings.median());
    print_profile(json["profile"], json["ms_per_image"].get<double>());
  }
  if (common.json) print_json(json);
}

}  // namespace

void add_bench_forward(CLI::App& bench, Commands& commands) {
  CLI::App* forward =
      bench.add_subcommand("forward", "One forward of a preset with random weights, or of a model");
  const auto options = std::make_shared<Options>();
  forward
      ->add_option("NETWORK",
                   options->network,
                   "A configuration of the paper, as S/2-8E2A, or a safetensors file")
      ->option_text("(required)")
      ->required();
  forward->add_option("--batch", options->batch, "Images at a time (default: 8)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
  forward->add_flag("--profile", options->profile, "Tell where the time goes");
  add_memory(*forward, options->bench.compute);
  add_bench_options(
      *forward, options->bench, "for some seconds", "the file's where this CPU has it, else f32");
  add_overrides(*forward, options->overrides);
  forward->footer(
      "Every repetition measures the roof as well; the rate is told as a fraction of the best.\n"
      "Example:\n"
      "  ditmoe bench forward S/2-8E2A --batch 8 --dtype bf16 --profile");
  commands.push_back({forward, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
