#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "ditmoe/base/tensor.h"
#include "ditmoe/pipeline/generate.h"
#include "ditmoe/pipeline/model_session.h"

#include "apps/command_line/options.h"

namespace ditmoe::apps {

// What the command `sample` is asked for.
struct SampleOptions {
  std::string model;
  std::string output = "samples.png";
  std::optional<std::string> labels;
  std::optional<int64_t> count;
  std::optional<uint64_t> seed;
  std::optional<int64_t> columns;
  std::optional<int64_t> scale;
  std::string from_png;
  std::string vae;
  int64_t batch = 0;
  std::string backend = "native";
  std::string device = "cpu";
  SamplingOptions sampling;
  OverrideOptions overrides;
  ComputeOptions compute;
  CommonOptions common;

  // Whether torch's modules are asked for, not the executor. Throws bad_input for an unknown
  // backend, and for a device that the executor does not run on.
  bool wants_torch() const;
};

// Adds the command and its options.
CLI::App* add_sample_command(CLI::App& app, SampleOptions& options);

// The images of a request, which the session's model predicts in the session's precision, under the
// contract of ModelSession::generate.
using Draw = std::function<base::Tensor(pipeline::ModelSession& session,
                                        const pipeline::GenerateRequest& request,
                                        const pipeline::GenerateProgress& progress)>;

// Runs the command: draws when all else has been checked, decodes, writes, and reports on stdout.
void sample(const SampleOptions& options, const Draw& draw);

}  // namespace ditmoe::apps
