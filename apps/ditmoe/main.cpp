// The command line `ditmoe`: torch-free, starts in milliseconds. One file per command.

#include <algorithm>

#include "apps/ditmoe/command.h"

int main(int argc, char** argv) {
  using namespace ditmoe::apps;
  CLI::App app("Draw images with sparse diffusion transformers (DiT-MoE), train and examine them.");
  set_up(app);
  app.set_version_flag("--version", version_text, "Print version, CPU features and libraries");
  Commands commands;
  const Arguments arguments(argv + std::min(argc, 1), argv + argc);
  add_sample(app, commands);
  add_train(app, commands, arguments);
  add_evaluate(app, commands);
  add_inspect(app, commands);
  add_convert(app, commands);
  add_probe(app, commands, arguments);
  add_bench(app, commands);
  return run_program(app, commands, argc, argv);
}
