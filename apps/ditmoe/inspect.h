#pragma once

#include <string>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/training_cost.h"

#include "apps/ditmoe/command.h"

// What the parts of `inspect` share.

namespace ditmoe::apps {

void print_line(const char* key, const std::string& value);

// Format, size and main element type of the weights.
void print_title(const std::string& path, const formats::TensorFile& file);

// Their number, or all of them with type and shape.
void print_tensors(const formats::TensorFile& file, bool list);

base::Json tensors_json(const formats::TensorFile& file);

// Shows an autoencoder or a classifier; false where the file is neither. Throws bad_input where
// options were given that only diffusion transformers know.
bool inspect_other(const std::string& path, bool is_overridden, bool list_tensors, bool as_json);

// What `--training` asks for.
struct TrainingOptions {
  bool wanted = false;
  std::string dtype = "bf16";
  int64_t accumulation = 1;
  int64_t steps = 0;  // of the run; 0: unknown
  networks::TrainingSettings settings{.batch = 32};
};

void add_training(CLI::App& app, TrainingOptions& options);

void print_training(const networks::DitConfig& config, const TrainingOptions& options);

base::Json training_json(const networks::DitConfig& config, const TrainingOptions& options);

}  // namespace ditmoe::apps
