#include <memory>
#include <string>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/roof.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/training/adamw.h"
#include "ditmoe/training/dit_module.h"
#include "ditmoe/training/objective.h"
#include "ditmoe/training/parameters.h"

#include "apps/command_line/measurement.h"
#include "apps/command_line/options.h"
#include "apps/ditmoe-train/commands.h"

namespace ditmoe::apps {
namespace {

struct BenchArguments {
  std::string network;
  std::string dtype = "f32";
  std::string kernels = "native";
  int64_t batch = 8;
  int64_t repetitions = 0;
  bool recompute = false;
  CommonOptions common;
};

// Where --repetitions is not given.
constexpr double kSeconds = 30.0;
constexpr size_t kLeastRepetitions = 5;

at::Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor values = at::empty(shape, at::kFloat);
  base::fill_normal({values.data_ptr<float>(), static_cast<size_t>(values.numel())},
                    {.seed = seed});
  return values;
}

training::TrainingBatch random_batch(const networks::DitConfig& config, int64_t images) {
  training::TrainingBatch batch;
  batch.x_start = normal({images, config.channels, config.image_size, config.image_size}, 1);
  batch.noise = normal(batch.x_start.sizes(), 2);
  batch.y = at::arange(images, at::kLong).mul(37).remainder(config.num_classes);
  batch.t = at::arange(images, at::kFloat).mul(999.0 / static_cast<double>(images)).floor();
  return batch;
}

// Training steps of a network with random weights, and how long the parts take.
class TrainBench {
 public:
  TrainBench(const networks::DitConfig& config, const training::ModuleOptions& options)
      : parameters_(config), module_((prepare(options), config), parameters_, options) {
    objective_ = training::make_objective(config.objective);
    state_ = training::make_adamw_state(parameters_.values());
    ema_ = parameters_.values().clone();
  }

  void step(const training::TrainingBatch& batch) {
    at::Tensor loss;
    parameters_.gradients().zero_();
    forward.measure([&] { loss = objective_->losses(module_, batch).total(); });
    backward.measure([&] { loss.backward(); });
    update.measure([&] {
      const torch::NoGradGuard no_grad;
      const auto norm = training::gradient_norm(parameters_.gradients());
      training::adamw_step({},
                           1e-4,
                           std::min(1.0, 1.0 / norm),
                           0.9999,
                           parameters_.gradients(),
                           state_,
                           parameters_.values(),
                           ema_,
                           parameters_.half());
    });
  }

  Timings forward, backward, update;

 private:
  void prepare(const training::ModuleOptions& options) {
    training::initialise(parameters_, 1);
    // Layers that begin as zeros would leave the others without gradients.
    const torch::NoGradGuard no_grad;
    parameters_.values().add_(normal(parameters_.values().sizes(), 3), 0.01);
    if (options.precision == kernels::Precision::kBf16) parameters_.keep_half();
  }

  training::ParameterSet parameters_;
  training::DitModule module_;
  std::unique_ptr<training::TrainingObjective> objective_;
  training::AdamwState state_;
  at::Tensor ema_;
};

base::Json measure(const BenchArguments& arguments) {
  const networks::DitConfig config = networks::preset(arguments.network);
  training::ModuleOptions options;
  options.kernels =
      arguments.kernels == "aten" ? autograd::Kernels::kAten : autograd::Kernels::kNative;
  options.precision = kernels::precision_from(arguments.dtype, "--dtype");
  if (options.precision == kernels::Precision::kInt8) {
    base::bad_input("--dtype: expected one of f32, bf16, found int8");
  }
  options.recompute = arguments.recompute;
  base::ThreadPool pool(at::get_num_threads());
  kernels::Roof roof(options.precision, pool);
  TrainBench bench(config, options);
  const training::TrainingBatch batch = random_batch(config, arguments.batch);
  for (int i = 0; i < 2; ++i) bench.step(batch);
  bench.forward = bench.backward = bench.update = {};

  const ForeignLoad load;
  Timings steps;
  const auto enough = [&] {
    if (arguments.repetitions > 0) {
      return steps.count() >= static_cast<size_t>(arguments.repetitions);
    }
    return steps.count() >= kLeastRepetitions && steps.total() > kSeconds;
  };
  while (!enough()) {
    roof.measure();
    at::set_num_threads(pool.size());  // the roof sets OpenMP's threads
    steps.measure([&] { bench.step(batch); });
  }
  const double operations =
      3 * 2.0 * static_cast<double>(arguments.batch * networks::forward_macs(config));
  base::Json json = machine_json(pool.size());
  json["network"] = arguments.network;
  json["dtype"] = arguments.dtype;
  json["kernels"] = arguments.kernels;
  json["batch"] = arguments.batch;
  json["recompute"] = arguments.recompute;
  json.update(steps.json());
  json["forward_ms"] = 1e3 * bench.forward.median();
  json["backward_ms"] = 1e3 * bench.backward.median();
  json["update_ms"] = 1e3 * bench.update.median();
  json["gflops"] = operations / steps.median() * 1e-9;
  json["roof_gflops"] = roof.best();
  json["fraction_of_roof"] = json["gflops"].get<double>() / roof.best();
  json["peak_bytes"] = peak_bytes();
  json["foreign_load"] = load.cpus();
  return json;
}

void run(const BenchArguments& arguments) {
  arguments.common.start_logging();
  set_torch_threads(arguments.common.threads);
  const base::Json json = measure(arguments);
  const auto number = [&](const char* key) { return json.at(key).get<double>(); };
  fmt::print(
      "{} {} batch {}: {:.0f} ms a step (forward {:.0f}, backward {:.0f}, update {:.0f}), "
      "{:.0f} GFLOP/s, {:.1f} % of the roof of {:.0f}; {:.2f} GiB\n",
      arguments.network,
      arguments.dtype,
      arguments.batch,
      number("median_ms"),
      number("forward_ms"),
      number("backward_ms"),
      number("update_ms"),
      number("gflops"),
      100 * number("fraction_of_roof"),
      number("roof_gflops"),
      number("peak_bytes") / (1 << 30));
  if (arguments.common.json) print_json(json);
}

}  // namespace

void add_bench(CLI::App& app, Commands& commands) {
  CLI::App* bench = app.add_subcommand("bench", "Measure speed, as a fraction of the roof");
  bench->require_subcommand(1);
  const auto arguments = std::make_shared<BenchArguments>();
  CLI::App* train = bench->add_subcommand(
      "train", "One training step: forward, backward, clipping, AdamW and EMA");
  train->add_option("NETWORK", arguments->network, "A configuration of the paper, as S/2-8E2A")
      ->option_text("(required)")
      ->required();
  train->add_option("--batch", arguments->batch, "Images of a step (default: 8)")
      ->option_text("N")
      ->check(whole_number(1, 4096));
  train->add_option("--dtype", arguments->dtype, "Of the large products (default: f32)")
      ->option_text("f32|bf16");
  train->add_option("--kernels", arguments->kernels, "Ours or ATen's operations (default: native)")
      ->option_text("native|aten")
      ->check(CLI::IsMember({"native", "aten"}));
  train->add_flag("--recompute", arguments->recompute, "Compute blocks again in backward");
  train
      ->add_option("--repetitions",
                   arguments->repetitions,
                   "How often to measure (default: for some seconds)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  add_threads(*train, arguments->common);
  add_json(*train, arguments->common);
  add_logging(*train, arguments->common);
  train->footer(
      "The rate counts three times the products of a forward pass, whatever is computed again.\n"
      "Example:\n"
      "  ditmoe bench train S/2-8E2A --dtype bf16 --json");
  commands.push_back({train, [arguments] { run(*arguments); }});
}

}  // namespace ditmoe::apps
