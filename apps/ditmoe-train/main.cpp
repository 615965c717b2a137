// ditmoe-train: the torch-linked commands. Usually run by ditmoe, which finds it beside itself.

#include <malloc.h>
#include <string>
#include <utility>

#include <c10/util/Exception.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"

#include "apps/ditmoe-train/commands.h"

namespace {

using namespace ditmoe;

// Tensors of tens of megabytes come and go each step; giving their pages back to the kernel and
// faulting them in again costs more than the arithmetic on them.
void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}

// torch's errors carry a backtrace; their first line says what happened.
void run_and_shorten_errors(const std::function<void()>& command) {
  try {
    command();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    base::failure("{}", text.substr(0, text.find('\n')));
  }
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  base::start_logging(base::LogLevel::kNormal);
  CLI::App app("The commands of ditmoe that need torch");
  apps::set_up(app);
  apps::Commands commands;
  apps::add_train(app, commands);
  apps::add_sample(app, commands);
  apps::add_probe(app, commands);
  apps::add_bench(app, commands);
  for (apps::Command& command : commands) {
    command.run = [run = std::move(command.run)] { run_and_shorten_errors(run); };
  }
  return apps::run_program(app, commands, argc, argv);
}
