// ditmoe-train: the torch-linked commands. Usually run by ditmoe, which finds it beside itself.

#include <cstdio>
#include <exception>
#include <malloc.h>
#include <string>

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

int report(const std::string& message, int exit_code) {
  std::fprintf(stderr, "ditmoe: %s\n", message.c_str());
  return exit_code;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

int run(int argc, char** argv) {
  CLI::App app("The training commands of ditmoe");
  app.require_subcommand(1);
  apps::TrainerCommands commands;
  apps::add_train(app, commands);
  apps::add_probe(app, commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report(first_line(error.what()), 2);
  }
  for (const apps::TrainerCommand& command : commands) {
    if (command.parser->parsed()) command.run();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  base::start_logging(base::LogLevel::kNormal);
  try {
    return run(argc, argv);
  } catch (const base::Error& error) {
    return report(error.what(), error.kind() == base::ErrorKind::kBadInput ? 2 : 1);
  } catch (const c10::Error& error) {
    return report(first_line(error.what_without_backtrace()), 1);
  } catch (const std::exception& error) {
    return report(error.what(), 1);
  }
}
