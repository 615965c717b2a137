#pragma once

#include <string>
#include <vector>

#include "apps/command_line/options.h"
#include "apps/command_line/program.h"

namespace ditmoe::apps {

// The arguments of the program from its command's name on, for commands that another program runs.
using Arguments = std::vector<std::string>;

// Each adds its command to the command line, in the file of its name.
void add_sample(CLI::App& app, Commands& commands, const Arguments& arguments);
void add_train(CLI::App& app, Commands& commands, const Arguments& arguments);
void add_evaluate(CLI::App& app, Commands& commands);
void add_inspect(CLI::App& app, Commands& commands);
void add_convert(CLI::App& app, Commands& commands);
void add_upcycle(CLI::App& app, Commands& commands);
void add_encode(CLI::App& app, Commands& commands);
void add_probe(CLI::App& app, Commands& commands, const Arguments& arguments);
void add_bench(CLI::App& app, Commands& commands, const Arguments& arguments);

// Replaces this process by ditmoe-train, found beside this program, with the given arguments.
// Throws bad_input where it was not built.
[[noreturn]] void run_trainer(const Arguments& arguments);

// Whether ditmoe-train stands beside this program.
bool trainer_exists();

// What --version prints: version, CPU features, libraries.
std::string version_text();

}  // namespace ditmoe::apps
