#include "apps/command_line/program.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>

#include <fmt/format.h>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/error.h"
#include "ditmoe/base/quoted.h"
#include "ditmoe/formats/toml.h"

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

// CLI11 would head the lists of commands with "Subcommands".
void name_groups(CLI::App& app) {
  for (CLI::App* child : app.get_subcommands([](CLI::App*) { return true; })) {
    child->group("Commands");
    name_groups(*child);
  }
}

// CLI11 would print the help of the program for an unknown command that is followed by --help.
std::string unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  const std::string word = argv[1];
  std::vector<std::string> names;
  for (const CLI::App* child : app.get_subcommands({})) names.push_back(child->get_name());
  if (std::ranges::find(names, word) != names.end()) return "";
  return fmt::format(
      "unknown command '{}'{} (see '{} --help')", word, did_you_mean(word, names), app.get_name());
}

int parse_and_run(CLI::App& app, const Commands& commands, int argc, char** argv) {
  if (argc < 2) {
    fmt::print("{}", app.help());
    return 0;
  }
  if (const std::string complaint = unknown_command(app, argc, argv); !complaint.empty()) {
    return report(complaint, kExitBadInput);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    return report(describe(error, app), kExitBadInput);
  }
  for (const Command& command : commands) {
    if (command.parser->parsed()) command.run();
  }
  // Results that could not be written must not look like success.
  if (std::fflush(stdout) != 0) return report("cannot write to standard output", kExitFailure);
  return 0;
}

}  // namespace

void set_up(CLI::App& app) {
  auto formatter = std::make_shared<CLI::Formatter>();
  formatter->label("SUBCOMMAND", "COMMAND");
  formatter->label("REQUIRED", "(required)");
  formatter->column_width(28);
  app.formatter(formatter);
  app.name("ditmoe");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.footer(
      "'ditmoe COMMAND --help' explains a command and shows an example. Exit codes: 0 success,\n"
      "1 a failure while running, 2 wrong usage or a bad input file.");
}

int run_program(CLI::App& app, const Commands& commands, int argc, char** argv) {
  if (!base::cpu_is_supported()) {
    return report("this CPU lacks AVX2, which the program was built for", kExitFailure);
  }
  name_groups(app);
  try {
    return parse_and_run(app, commands, argc, argv);
  } catch (const base::Error& error) {
    return report(base::escaped(error.what()),
                  error.kind() == base::ErrorKind::kBadInput ? kExitBadInput : kExitFailure);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kExitFailure);
  } catch (const std::exception& error) {
    return report(error.what(), kExitFailure);
  }
}

}  // namespace ditmoe::apps
