#pragma once

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {

// Options that all measurements have.
struct BenchOptions {
  int64_t repetitions = 0;  // 0: as many as the measurement finds right
  ComputeOptions compute;
  CommonOptions common;
};

// `repetitions` and `dtype` say what holds where they are not given.
void add_bench_options(CLI::App& app,
                       BenchOptions& options,
                       const std::string& repetitions,
                       const std::string& dtype);

// Each adds its command below `bench`.
void add_bench_forward(CLI::App& bench, Commands& commands);
void add_bench_ops(CLI::App& bench, Commands& commands);
void add_bench_sample(CLI::App& bench, Commands& commands);
void add_bench_precision(CLI::App& bench, Commands& commands);
void add_bench_vae(CLI::App& bench, Commands& commands);

}  // namespace ditmoe::apps
