#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/pipeline/generate.h"

namespace ditmoe::pipeline {

// How a session computes.
struct SessionOptions {
  // If not given, the precision weights are stored in where this CPU has it, else f32.
  std::optional<kernels::Precision> precision;
  std::optional<uint64_t> memory;  // bytes, see ExecutorOptions
};

// From a model file to images: what every command, server and binding calls.
//
//   ModelSession session("fashion-moe.safetensors", {}, {}, pool);
//   GenerateRequest request = default_request(session.model());
//   request.labels = session.parse_labels("ankle boot");
//   base::Tensor pixels = to_uint8_NHWC(session.generate(request));
//
// Opening reads the header only; weights are packed by the first call that needs them. One call at
// a time.
class ModelSession {
 public:
  // pool must outlive the session. Throws bad_input as ModelFile::open.
  ModelSession(const std::string& path,
               const networks::ModelOverrides& overrides,
               const SessionOptions& options,
               base::ThreadPool& pool);

  const networks::ModelFile& model() const { return model_; }

  kernels::Precision precision() const { return precision_; }

  // See pipeline::parse_labels.
  std::vector<int32_t> parse_labels(const std::string& text) const;

  // See pipeline::label_name.
  std::string label_name(int32_t label) const;

  // The network, packed for this CPU.
  networks::DitExecutor& executor();

  // See pipeline::generate; refuses first what check_request refuses, and warns of images that are
  // not finite.
  base::Tensor generate(const GenerateRequest& request, const GenerateProgress& progress = {});

 private:
  networks::ModelFile model_;
  kernels::Precision precision_;
  std::optional<uint64_t> memory_;
  base::ThreadPool* pool_;
  std::unique_ptr<networks::DitExecutor> executor_;
};

}  // namespace ditmoe::pipeline
