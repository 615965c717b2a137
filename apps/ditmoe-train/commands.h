#pragma once

#include "apps/command_line/program.h"

namespace ditmoe::apps {

// Each adds its torch-linked command to the command line, in the file of its name.
void add_train(CLI::App& app, Commands& commands);
void add_sample(CLI::App& app, Commands& commands);
void add_probe(CLI::App& app, Commands& commands);
void add_bench(CLI::App& app, Commands& commands);

// Threads of ATen and of the kernels beside it; 0 is one per CPU this process may run on.
void set_torch_threads(int threads);

}  // namespace ditmoe::apps
