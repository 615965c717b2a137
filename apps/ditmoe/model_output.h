#pragma once

#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/weight_source.h"

namespace ditmoe::apps {

// How a command writes a model.
struct OutputOptions {
  std::optional<std::string> format;
  std::optional<std::string> dtype;
  std::string names = "qkv";

  // Throws bad_input for words that are none or that do not go together, and for a place that
  // cannot be written.
  void check(const std::string& path) const;

  bool is_packed() const;
  bool is_diffusers() const;

  // Writes to `path`; returns what it wrote, "safetensors in f16". `source` names the
  // network in messages.
  std::string write(const std::string& path,
                    const networks::WeightSource& weights,
                    const networks::Metadata& metadata,
                    const std::string& source,
                    base::ThreadPool& pool) const;
};

// Opens the model of which another is to be written at `output`. Throws bad_input as
// networks::ModelFile::open, for a packed one, and where `output` is one of its files.
networks::ModelFile open_input(const std::string& input,
                               const std::string& output,
                               const networks::ModelOverrides& overrides);

void add_output(CLI::App& app, OutputOptions& options);

}  // namespace ditmoe::apps
