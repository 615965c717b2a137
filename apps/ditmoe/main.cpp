// The command line `ditmoe`: torch-free, starts in milliseconds. One file per command.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/error.h"
#include "ditmoe/formats/toml.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitBadInput = 2;

int report(std::string message, int exit_code) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  fmt::print(stderr, "ditmoe: {}\n", message);
  return exit_code;
}

// The innermost command that was recognised before parsing stopped.
const CLI::App& innermost(const CLI::App& app) {
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) current = current->get_subcommands().front();
  return *current;
}

std::string command_path(const CLI::App& app) {
  if (app.get_parent() == nullptr) return app.get_name();
  return command_path(*app.get_parent()) + " " + app.get_name();
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string nearest = formats::nearest_word(word, candidates);
  return nearest.empty() ? "" : ", did you mean '" + nearest + "'?";
}

// CLI11's words for values that are missing or no number, made plain.
std::string reword(const CLI::ParseError& error) {
  const std::string text = error.what();
  if (error.get_name() == "ConversionError") {
    const std::string prefix = "Could not convert: ";
    const size_t start = text.starts_with(prefix) ? prefix.size() : 0;
    return text.substr(start) + ": expected a number";
  }
  if (error.get_name() == "ArgumentMismatch") {
    return text.substr(0, text.find(':')) + ": expected one value";
  }
  return text;
}

// What was wrong with the arguments, in one line.
std::string describe(const CLI::ParseError& error, const CLI::App& app) {
  const CLI::App& command = innermost(app);
  const std::string help = fmt::format(" (see '{} --help')", command_path(command));
  const std::vector<std::string> unknown = command.remaining();
  if (unknown.empty()) {
    if (error.get_name() == "RequiredError" && !command.get_subcommands({}).empty()) {
      return "expected a command after '" + command_path(command) + "'" + help;
    }
    return reword(error) + help;
  }
  const std::string& word = unknown.front();
  std::vector<std::string> candidates;
  if (word.starts_with("-")) {
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& name : option->get_lnames()) candidates.push_back("--" + name);
    }
    const std::string option = word.substr(0, word.find('='));
    return "unknown option '" + option + "'" + did_you_mean(option, candidates) + help;
  }
  for (const CLI::App* child : command.get_subcommands({})) candidates.push_back(child->get_name());
  const char* what = candidates.empty() ? "unexpected argument '" : "unknown command '";
  return what + word + "'" + did_you_mean(word, candidates) + help;
}

void set_up(CLI::App& app) {
  auto formatter = std::make_shared<CLI::Formatter>();
  formatter->label("SUBCOMMAND", "COMMAND");
  formatter->label("REQUIRED", "(required)");
  formatter->column_width(28);
  app.formatter(formatter);
  app.name("ditmoe");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", version_text, "Print version, CPU features and libraries");
  app.require_subcommand(1);
  app.footer(
      "'ditmoe COMMAND --help' explains a command and shows an example. Exit codes: 0 success,\n"
      "1 a failure while running, 2 wrong usage or a bad input file.");
}

// CLI11 would head the lists of commands with "Subcommands".
void name_groups(CLI::App& app) {
  for (CLI::App* child : app.get_subcommands([](CLI::App*) { return true; })) {
    child->group("Commands");
    name_groups(*child);
  }
}

void run_command(const Commands& commands) {
  for (const Command& command : commands) {
    if (command.parser->parsed()) return command.run();
  }
}

int run(int argc, char** argv) {
  CLI::App app("Draw images with sparse diffusion transformers (DiT-MoE), train and examine them.");
  set_up(app);
  Commands commands;
  const Arguments arguments(argv + std::min(argc, 1), argv + argc);
  add_sample(app, commands);
  add_train(app, commands, arguments);
  add_evaluate(app, commands);
  add_inspect(app, commands);
  add_probe(app, commands, arguments);
  name_groups(app);
  if (arguments.empty()) {
    fmt::print("{}", app.help());
    return 0;
  }
  try {
    app.parse(argc, argv);
    run_command(commands);
    // Results that could not be written must not look like success.
    if (std::fflush(stdout) != 0) return report("cannot write to standard output", kExitFailure);
    return 0;
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    return report(describe(error, app), kExitBadInput);
  }
}

}  // namespace
}  // namespace ditmoe::apps

int main(int argc, char** argv) {
  using namespace ditmoe;
  if (!base::cpu_is_supported()) {
    return apps::report("this CPU lacks AVX2, which the program was built for", apps::kExitFailure);
  }
  try {
    return apps::run(argc, argv);
  } catch (const base::Error& error) {
    return apps::report(
        error.what(),
        error.kind() == base::ErrorKind::kBadInput ? apps::kExitBadInput : apps::kExitFailure);
  } catch (const std::bad_alloc&) {
    return apps::report("out of memory", apps::kExitFailure);
  } catch (const std::exception& error) {
    return apps::report(error.what(), apps::kExitFailure);
  }
}
