#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "ditmoe/base/json.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/pipeline/generate.h"
#include "ditmoe/pipeline/model_session.h"

namespace ditmoe::apps {

// Options that most commands have.
struct CommonOptions {
  bool verbose = false;
  bool quiet = false;
  bool json = false;
  int threads = 0;  // 0: one per CPU

  // Starts logging at the level asked for.
  void start_logging() const;
};

void add_logging(CLI::App& app, CommonOptions& options);
void add_json(CLI::App& app, CommonOptions& options);
void add_threads(CLI::App& app, CommonOptions& options);

// How MODEL is called in the help of every command.
inline constexpr const char* kModelText = "A safetensors or PyTorch checkpoint";

// What a foreign model file cannot tell.
struct OverrideOptions {
  std::optional<int64_t> heads;
  std::optional<int64_t> top_k;
  std::optional<std::string> objective;
  std::optional<std::string> weights;

  bool any() const { return heads || top_k || objective; }

  // These where they are given, else `base`.
  networks::ModelOverrides over(networks::ModelOverrides base = {}) const;
};

// top_k: the name of that option, where a command has another of the usual name.
void add_overrides(CLI::App& app,
                   OverrideOptions& options,
                   bool with_objective = true,
                   const std::string& top_k = "--top-k");

// How a network computes.
struct ComputeOptions {
  std::optional<std::string> dtype;
  std::optional<std::string> memory;

  // What is given. Throws bad_input for an unknown word.
  std::optional<kernels::Precision> precision() const;

  // Both; `repeated` where no type is given. Sizes are "12G", "800M", "64K" or bytes, in powers of
  // 1024. Throws bad_input naming the option.
  pipeline::SessionOptions session(std::optional<kernels::Precision> repeated = {}) const;
};

// `otherwise` says what holds where no type is given.
void add_precision(CLI::App& app,
                   ComputeOptions& options,
                   const std::string& otherwise = "the file's where this CPU has it,\nelse f32");
void add_memory(CLI::App& app, ComputeOptions& options);

// The files of a probe: arrays in, arrays out.
struct ProbeFiles {
  std::string model;
  std::string input;
  std::string output;
};

// Both texts name the arrays.
void add_probe_files(CLI::App& app, ProbeFiles& files, const char* input, const char* output);

// Accepts whole numbers from first to last.
CLI::Validator whole_number(uint64_t first, uint64_t last);

// How images are drawn from noise.
struct SamplingOptions {
  std::optional<std::string> sampler;
  std::optional<int64_t> steps;
  std::optional<double> cfg;
  std::optional<std::string> cfg_channels;
  std::optional<std::string> cfg_interval;

  // Changes of the request what is given. A new sampler without steps takes its own default.
  void apply(const networks::ModelFile& model, pipeline::GenerateRequest& request) const;
};

void add_sampling(CLI::App& app, SamplingOptions& options);

// Prints the one JSON object of a command, as the last line of stdout.
void print_json(const base::Json& json);

// "1 step", "2 steps".
std::string counted(int64_t count, const std::string& noun);

// 1234567 → "1,234,567".
std::string with_separators(int64_t value);

// The last part of a path.
std::string file_name(const std::string& path);

}  // namespace ditmoe::apps
