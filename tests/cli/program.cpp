#include "program.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "ditmoe/base/philox.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::apps {
namespace {

std::string quoted(const std::string& argument) {
  std::string result = "'";
  for (const char c : argument) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "ditmoe_cli_XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Outcome run(const std::vector<std::string>& arguments, const std::string& program) {
  const TemporaryFolder streams;
  std::string command = quoted(program);
  for (const std::string& argument : arguments) command += " " + quoted(argument);
  command += " >" + quoted(streams / "out") + " 2>" + quoted(streams / "err");
  const int status = std::system(command.c_str());
  Outcome outcome;
  // A signal must not look like an exit code that was expected.
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  outcome.out = formats::read_text(streams / "out");
  outcome.err = formats::read_text(streams / "err");
  return outcome;
}

Process::Process(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {DITMOE_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0);
  }
  if (posix_spawn(&id_, DITMOE_PROGRAM, &actions, nullptr, pointers.data(), environ) != 0) {
    std::abort();
  }
  posix_spawn_file_actions_destroy(&actions);
}

Process::~Process() {
  if (id_ < 0) return;
  kill();
  wait();
}

bool Process::wait_until_written(uint64_t bytes) const {
  const std::string path = "/proc/" + std::to_string(id_) + "/io";
  while (true) {
    std::ifstream file(path);
    std::string key;
    uint64_t value = 0;
    while (file >> key >> value) {
      if (key == "wchar:" && value >= bytes) return true;
    }
    siginfo_t ended = {};
    ::waitid(P_PID, static_cast<id_t>(id_), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (ended.si_pid != 0) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void Process::kill() { ::kill(id_, SIGKILL); }

int Process::wait() {
  constexpr uint64_t kKilobyte = 1024;
  int status = 0;
  rusage usage = {};
  if (::wait4(std::exchange(id_, -1), &status, 0, &usage) < 0) std::abort();
  peak_bytes_ = static_cast<uint64_t>(usage.ru_maxrss) * kKilobyte;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

networks::DitConfig tiny_config() {
  networks::DitConfig config;
  config.image_size = 8;
  config.patch_size = 2;
  config.channels = 1;
  config.width = 32;
  config.depth = 2;
  config.heads = 2;
  config.num_classes = 3;
  config.experts = 4;
  config.top_k = 2;
  config.shared_experts = 1;
  return config;
}

void write_random_model(const std::string& path, const networks::DitConfig& config) {
  std::vector<base::Tensor> storage;
  formats::NamedTensors tensors;
  for (const networks::TensorSpec& spec : networks::tensor_specs(config)) {
    base::Tensor& tensor = storage.emplace_back(base::DType::kF32, spec.shape);
    base::fill_normal(tensor.as<float>(), {.seed = 1, .index = storage.size()});
    for (float& value : tensor.as<float>()) value *= 0.15F;
    tensors.emplace_back(spec.name, tensor.view());
  }
  networks::SamplingDefaults sampling{"ddim", 5, 2.0, "all"};
  if (config.objective == networks::Objective::kRectifiedFlow) sampling.sampler = "euler";
  networks::save_model(
      path, config, tensors, {"T-shirt/top", "Trouser", "Bag"}, sampling, base::DType::kF32);
}

}  // namespace ditmoe::apps
