#include <algorithm>
#include <memory>
#include <vector>

#include "ditmoe/base/dtype.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/attention.h"
#include "ditmoe/kernels/products.h"
#include "ditmoe/kernels/roof.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/matrix_group.h"
#include "ditmoe/networks/matrix_source.h"
#include "ditmoe/networks/weight_source.h"

#include "apps/command_line/measurement.h"
#include "apps/ditmoe/bench.h"

namespace ditmoe::apps {
namespace {

using kernels::Precision;

struct Options {
  std::string preset;
  int64_t rows = kernels::kMaxTileRows;
  BenchOptions bench;
};

constexpr int64_t kRepetitions = 50;

// One measured operation: all threads do the same at once, each on its own rows.
struct Measured {
  std::string name;
  double operations = 0;  // of one call
  Timings timings;
};

class Ops {
 public:
  Ops(const Options& options, base::ThreadPool& pool)
      : config_(networks::preset(options.preset)),
        rows_(options.rows),
        precision_(options.bench.compute.precision().value_or(Precision::kF32)),
        repetitions_(options.bench.repetitions > 0 ? options.bench.repetitions : kRepetitions),
        pool_(pool),
        products_(pool.size(), precision_, base::chosen_isa()) {}

  std::vector<Measured> run() {
    const networks::BlockGroups block(config_, 0, precision_);
    product("qkv", block.qkv);
    product("proj", block.proj);
    if (config_.is_moe(0)) {
      const auto expert = networks::expert_groups(config_, 0, 0, precision_);
      product("gate-up", expert[0]);
      product("down", expert[1]);
    } else {
      product("first", block.feed_forward[0]);
      product("second", block.feed_forward[1]);
    }
    if (precision_ == Precision::kF32) {
      attention<float>();
    } else {
      attention<base::BFloat16>();
    }
    return std::move(measured_);
  }

 private:
  template <typename Work>
  void measure(const std::string& name, double operations, const Work& work) {
    Measured measured{name, operations * pool_.size(), {}};
    const auto once = [&] { pool_.run(pool_.size(), work); };
    once();
    for (int64_t i = 0; i < repetitions_; ++i) measured.timings.measure(once);
    measured_.push_back(std::move(measured));
  }

  // The group's matrices one after another, on a tile of rows.
  void product(const std::string& name, const networks::MatrixGroup& group) {
    const networks::RandomWeights weights(config_, 0);
    const networks::PackingSource source(weights, precision_, products_.matmul(), arena_);
    const std::vector<kernels::PackedMatrix> matrices = source.matrices(group);
    const Precision taken = products_.computed();
    std::vector<std::byte*> x;
    std::vector<std::byte*> y;
    int64_t widest = 0;
    double outputs = 0;
    for (const kernels::PackedMatrix& matrix : matrices) {
      widest = std::max(widest, matrix.outputs());
      outputs += static_cast<double>(matrix.outputs());
    }
    for (int thread = 0; thread < pool_.size(); ++thread) {
      const int64_t bytes = rows_ * group.inputs * kernels::activation_bytes(taken);
      x.push_back(arena_.take(static_cast<size_t>(bytes)));
      y.push_back(arena_.take(static_cast<size_t>(rows_ * widest * 4)));
    }
    const double operations =
        2.0 * static_cast<double>(rows_) * static_cast<double>(group.inputs) * outputs;
    measure(name, operations, [&](int64_t, int thread) {
      for (const kernels::PackedMatrix& matrix : matrices) {
        products_.matmul().multiply(
            x[static_cast<size_t>(thread)], rows_, matrix, y[static_cast<size_t>(thread)], thread);
      }
    });
  }

  template <typename T>
  void attention() {
    const kernels::AttentionShape shape{config_.tokens(), config_.heads, config_.head_dim()};
    const int64_t floats = kernels::attention_workspace(shape, false);
    const auto tokens = static_cast<double>(shape.tokens);
    std::vector<std::vector<float>> workspaces(static_cast<size_t>(pool_.size()),
                                               std::vector<float>(static_cast<size_t>(floats)));
    auto* qkv = arena_.take_array<T>(shape.tokens * 3 * shape.width());
    std::vector<T*> out;
    for (int thread = 0; thread < pool_.size(); ++thread) {
      out.push_back(arena_.take_array<T>(shape.tokens * shape.width()));
    }
    const double operations = 4.0 * tokens * tokens * static_cast<double>(shape.width());
    measure("attention", operations, [&](int64_t, int thread) {
      const auto own = static_cast<size_t>(thread);
      for (int64_t head = 0; head < shape.heads; ++head) {
        kernels::attention(
            static_cast<const T*>(qkv), shape, head, nullptr, workspaces[own], out[own]);
      }
    });
  }

  networks::DitConfig config_;
  int64_t rows_;
  Precision precision_;
  int64_t repetitions_;
  base::ThreadPool& pool_;
  kernels::Products products_;
  base::Arena arena_;
  std::vector<Measured> measured_;
};

void run(const Options& options) {
  const CommonOptions& common = options.bench.common;
  common.start_logging();
  base::ThreadPool pool(common.threads);
  const Precision precision = options.bench.compute.precision().value_or(Precision::kF32);
  kernels::Roof roof(precision, pool);
  const ForeignLoad load;
  for (int i = 0; i < 5; ++i) roof.measure();
  const std::vector<Measured> results = Ops(options, pool).run();
  for (int i = 0; i < 5; ++i) roof.measure();
  base::Json json = machine_json(pool.size());
  json["preset"] = options.preset;
  json["dtype"] = kernels::to_word(precision);
  json["rows"] = options.rows;
  json["roof_gflops"] = roof.best();
  json["foreign_load"] = load.cpus();
  json["ops"] = base::Json::array();
  fmt::print("{} {}, {} rows a thread, roof {:.0f} GFLOP/s\n",
             options.preset,
             kernels::to_word(precision),
             options.rows,
             roof.best());
  for (const Measured& op : results) {
    const double rate = op.operations / op.timings.median() * 1e-9;
    base::Json row = {{"op", op.name}, {"gflops", rate}, {"fraction_of_roof", rate / roof.best()}};
    row.update(op.timings.json());
    json["ops"].push_back(row);
    fmt::print("  {:<10}{:>9.3f} ms{:>8.0f} GFLOP/s{:>7.1f} %\n",
               op.name,
               1e3 * op.timings.median(),
               rate,
               100 * rate / roof.best());
  }
  if (common.json) print_json(json);
}

}  // namespace

void add_bench_ops(CLI::App& bench, Commands& commands) {
  CLI::App* ops = bench.add_subcommand("ops", "The products and the attention of one block");
  const auto options = std::make_shared<Options>();
  ops->add_option("PRESET", options->preset, "A configuration of the paper: S/2-8E2A")
      ->option_text("(required)")
      ->required();
  ops->add_option("--rows", options->rows, "Rows of a tile (default: the most an executor takes)")
      ->option_text("N")
      ->check(whole_number(1, 1'000'000));
  add_bench_options(*ops, options->bench, std::to_string(kRepetitions), "f32");
  ops->footer(
      "Weights stay in the cache as far as they fit: what a forward could reach at best.\n"
      "Example:\n"
      "  ditmoe bench ops S/2-8E2A --dtype int8");
  commands.push_back({ops, [options] { run(*options); }});
}

}  // namespace ditmoe::apps
