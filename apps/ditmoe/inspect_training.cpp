#include "ditmoe/base/memory.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/matmul.h"
#include "ditmoe/kernels/roof.h"
#include "ditmoe/networks/training_cost.h"

#include "apps/ditmoe/inspect.h"

namespace ditmoe::apps {
namespace {

// What training reaches of the roof (docs/benchmarks.md), and how fast an update goes through its
// buffers: 38 bytes a weight.
constexpr double kFractionOfRoof = 0.7;
constexpr double kUpdateBytes = 38;
constexpr double kBytesPerSecond = 30e9;

struct Estimate {
  double roof = 0;  // GFLOP/s
  double step_seconds = 0;
};

Estimate estimate(const networks::DitConfig& config, const TrainingOptions& options) {
  base::ThreadPool pool;
  const kernels::Precision precision = options.settings.precision;
  const bool has = kernels::Matmul(1).computed(precision) == precision;
  kernels::Roof roof(has ? precision : kernels::Precision::kF32, pool);
  for (int i = 0; i < 5; ++i) roof.measure();
  const double images =
      static_cast<double>(options.settings.batch) * static_cast<double>(options.accumulation);
  const double operations =
      2.0 * static_cast<double>(networks::training_macs(config, options.settings.recompute));
  const auto weights = static_cast<double>(networks::total_parameters(config));
  return {roof.best(),
          images * operations / (kFractionOfRoof * roof.best() * 1e9) +
              weights * kUpdateBytes / kBytesPerSecond};
}

std::string duration(double seconds) {
  if (seconds < 120) return fmt::format("{:.2f} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 72 * 3600) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.0f} days", seconds / 86400);
}

std::string size(int64_t bytes) { return base::bytes_text(static_cast<uint64_t>(bytes)); }

}  // namespace

void print_training(const networks::DitConfig& config, const TrainingOptions& options) {
  const networks::TrainingMemory memory = networks::training_memory(config, options.settings);
  const Estimate time = estimate(config, options);
  print_line(
      "training",
      fmt::format(
          "{} images at a time{}, products in {}{}",
          options.settings.batch,
          options.accumulation > 1 ? fmt::format(", {} times an update", options.accumulation) : "",
          kernels::to_word(options.settings.precision),
          options.settings.recompute ? ", blocks computed again" : ""));
  print_line("memory",
             fmt::format("{}: weights {}, gradients {}, AdamW {}, EMA {}, activations {}, other {}",
                         size(memory.total()),
                         size(memory.weights),
                         size(memory.gradients),
                         size(memory.optimiser),
                         size(memory.average),
                         size(memory.activations),
                         size(memory.workspace + memory.program)));
  print_line("step",
             fmt::format("{} at {:.0f} % of this machine's roof of {:.0f} GFLOP/s",
                         duration(time.step_seconds),
                         100 * kFractionOfRoof,
                         time.roof));
  if (options.steps > 0) {
    print_line(
        "run",
        fmt::format("{} steps, {} images: {}",
                    with_separators(options.steps),
                    with_separators(options.steps * options.accumulation * options.settings.batch),
                    duration(static_cast<double>(options.steps) * time.step_seconds)));
  }
}

base::Json training_json(const networks::DitConfig& config, const TrainingOptions& options) {
  const networks::TrainingMemory memory = networks::training_memory(config, options.settings);
  const Estimate time = estimate(config, options);
  return {{"batch", options.settings.batch},
          {"accumulation", options.accumulation},
          {"dtype", kernels::to_word(options.settings.precision)},
          {"recompute", options.settings.recompute},
          {"bytes",
           {{"total", memory.total()},
            {"weights", memory.weights},
            {"gradients", memory.gradients},
            {"optimiser", memory.optimiser},
            {"average", memory.average},
            {"activations", memory.activations},
            {"workspace", memory.workspace},
            {"program", memory.program}}},
          {"macs_per_image", networks::training_macs(config, options.settings.recompute)},
          {"roof_gflops", time.roof},
          {"seconds_per_step", time.step_seconds},
          {"steps", options.steps}};
}

void add_training(CLI::App& app, TrainingOptions& options) {
  app.add_flag(
      "--training", options.wanted, "Also what training takes: memory, and time on this machine");
  app.add_option("--batch", options.settings.batch, "Images at a time in training (default: 32)")
      ->option_text("N")
      ->check(whole_number(1, 1 << 20));
  app.add_option("--accumulation", options.accumulation, "So often before an update (default: 1)")
      ->option_text("N")
      ->check(whole_number(1, 1 << 20));
  app.add_option("--dtype", options.dtype, "Of training's products (default: bf16)")
      ->option_text("f32|bf16")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_flag("--recompute", options.settings.recompute, "Compute blocks again in backward");
  app.add_option("--steps", options.steps, "Updates of the whole run")
      ->option_text("N")
      ->check(whole_number(1, uint64_t{1} << 40));
}

}  // namespace ditmoe::apps
