#include "program.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sys/wait.h>

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
