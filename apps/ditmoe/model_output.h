#pragma once

#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/weight_source.h"

namespace ditmoe::apps {

// How a command writes a model.
struct OutputOptions {
  std::optional<std::string> format;
  std::optional<std::string> dtype;
  std::string names = "qkv";

  // Throws bad_input for words that are none or that do not go together, and for a place that
  // cannot be written. `input` is the file that is read, empty where there is none.
  void check(const std::string& path, const std::string& input) const;

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

void add_output(CLI::App& app, OutputOptions& options);

}  // namespace ditmoe::apps
