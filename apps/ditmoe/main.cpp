// The command line `ditmoe`: torch-free, starts in milliseconds. One file per command.

#include <algorithm>
#include <malloc.h>

#include "apps/ditmoe/command.h"

namespace {

// Weights pass through memory in pieces of megabytes on several threads. glibc would come to take
// pieces below 32 MB from heaps that fragment until converting 33 GB takes 24; mapped one by one,
// they go back to the system when they are freed.
void map_large_pieces() {
  constexpr int kThreshold = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kThreshold);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace ditmoe::apps;
  map_large_pieces();
  CLI::App app("Draw images with sparse diffusion transformers (DiT-MoE), train and examine them.");
  set_up(app);
  app.set_version_flag("--version", version_text, "Print version, CPU features and libraries");
  Commands commands;
  const Arguments arguments(argv + std::min(argc, 1), argv + argc);
  add_sample(app, commands, arguments);
  add_train(app, commands, arguments);
  add_evaluate(app, commands);
  add_inspect(app, commands);
  add_convert(app, commands);
  add_upcycle(app, commands);
  add_encode(app, commands);
  add_probe(app, commands, arguments);
  add_bench(app, commands, arguments);
  return run_program(app, commands, argc, argv);
}
