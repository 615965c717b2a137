#pragma once

#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ditmoe::apps {

// One command of a program: its place in the command line and what it does. run throws base::Error.
struct Command {
  CLI::App* parser;
  std::function<void()> run;
};

using Commands = std::vector<Command>;

// Gives app the name and the looks that all help texts share. Call before commands are added.
void set_up(CLI::App& app);

// Parses the arguments and runs the command they name. Whatever goes wrong becomes one line on
// stderr. Returns the exit code: 0 success, 1 a failure while running, 2 wrong usage or bad input.
int run_program(CLI::App& app, const Commands& commands, int argc, char** argv);

}  // namespace ditmoe::apps
