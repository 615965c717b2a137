#pragma once

#include <functional>
#include <vector>

#include <CLI/CLI.hpp>

namespace ditmoe::apps {

// One torch-linked command: its place in the command line and what it does. run throws base::Error.
struct TrainerCommand {
  CLI::App* parser;
  std::function<void()> run;
};

using TrainerCommands = std::vector<TrainerCommand>;

void add_train(CLI::App& app, TrainerCommands& commands);
void add_probe(CLI::App& app, TrainerCommands& commands);

// Threads of ATen and of the kernels beside it; 0 is one per CPU this process may run on.
void set_torch_threads(int threads);

}  // namespace ditmoe::apps
