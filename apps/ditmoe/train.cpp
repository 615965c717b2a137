#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <unistd.h>

#include "ditmoe/base/error.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {
namespace {

std::filesystem::path trainer_path() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) base::failure("cannot find the program's own folder: {}", error.message());
  return self.parent_path() / "ditmoe-train";
}

}  // namespace

bool trainer_exists() { return access(trainer_path().c_str(), X_OK) == 0; }

void run_trainer(const Arguments& arguments) {
  const std::string program = trainer_path().string();
  if (!trainer_exists()) {
    base::bad_input(
        "{} does not exist: this command needs the training programs (build with "
        "-DDITMOE_TRAINING=ON)",
        program);
  }
  // See docs/adr/0005-training-threads.md. What the user has set wins.
  setenv("GOMP_SPINCOUNT", "20000", /*overwrite=*/0);
  setenv("OPENBLAS_NUM_THREADS", "1", /*overwrite=*/0);
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  base::failure("cannot run {}: {}", program, std::strerror(errno));
}

void add_train(CLI::App& app, Commands& commands, const Arguments& arguments) {
  CLI::App* train = app.add_subcommand("train", "Train a model from a recipe (runs ditmoe-train)");
  // Everything after the command's name, --help too, is for ditmoe-train to understand.
  train->set_help_flag();
  train->prefix_command();
  commands.push_back({train, [arguments] { run_trainer(arguments); }});
}

}  // namespace ditmoe::apps
