#include "ditmoe/pipeline/model_session.h"

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/log.h"
#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/settings.h"

namespace ditmoe::pipeline {
namespace {

// The precision a file's weights are stored in, where this CPU has it.
kernels::Precision stored_precision(const networks::ModelFile& model) {
  if (model.packed()) return *model.packed();
  const bool narrow = model.dtype() == base::DType::kBF16;
  if (narrow && base::chosen_isa() >= base::Isa::kAvx512Bf16) return kernels::Precision::kBf16;
  return kernels::Precision::kF32;
}

}  // namespace

ModelSession::ModelSession(const std::string& path,
                           const networks::ModelOverrides& overrides,
                           const SessionOptions& options,
                           base::ThreadPool& pool)
    : model_(networks::ModelFile::open(path, overrides)),
      precision_(options.precision.value_or(stored_precision(model_))),
      memory_(options.memory),
      pool_(&pool) {}

std::vector<int32_t> ModelSession::parse_labels(const std::string& text) const {
  return pipeline::parse_labels(text, model_.config().num_classes, model_.class_names());
}

std::string ModelSession::label_name(int32_t label) const {
  return pipeline::label_name(label, model_.config().num_classes, model_.class_names());
}

networks::DitExecutor& ModelSession::executor() {
  if (executor_) return *executor_;
  executor_ = std::make_unique<networks::DitExecutor>(
      model_, networks::ExecutorOptions{.precision = precision_, .memory = memory_}, *pool_);
  if (executor_->computed() != precision_) {
    base::log_info("{}: this CPU has no products in {}; weights are kept so, products are in {}",
                   model_.path(),
                   kernels::to_word(precision_),
                   kernels::to_word(executor_->computed()));
  }
  return *executor_;
}

base::Tensor ModelSession::generate(const GenerateRequest& request,
                                    const GenerateProgress& progress) {
  check_request(request, model_);
  base::Tensor images = pipeline::generate(executor(), request, progress);
  model_.file()->expect_whole();  // weights may have been used where the file has them
  if (const int64_t broken = count_not_finite(images); broken > 0) {
    base::log_warning("{}: {} of {} images hold values that are not finite",
                      model_.path(),
                      broken,
                      images.dim(0));
  }
  return images;
}

}  // namespace ditmoe::pipeline
