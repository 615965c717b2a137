#include "ditmoe/pipeline/model_session.h"

#include "ditmoe/pipeline/labels.h"
#include "ditmoe/pipeline/settings.h"

namespace ditmoe::pipeline {

ModelSession::ModelSession(const std::string& path,
                           const networks::ModelOverrides& overrides,
                           base::ThreadPool& pool)
    : model_(networks::ModelFile::open(path, overrides)), pool_(&pool) {}

std::vector<int32_t> ModelSession::parse_labels(const std::string& text) const {
  return pipeline::parse_labels(text, model_.config().num_classes, model_.class_names());
}

std::string ModelSession::label_name(int32_t label) const {
  return pipeline::label_name(label, model_.config().num_classes, model_.class_names());
}

networks::DitExecutor& ModelSession::executor() {
  if (!executor_) executor_ = std::make_unique<networks::DitExecutor>(model_, *pool_);
  return *executor_;
}

base::Tensor ModelSession::generate(const GenerateRequest& request,
                                    const GenerateProgress& progress) {
  check_request(request, model_);
  return pipeline::generate(executor(), request, progress);
}

}  // namespace ditmoe::pipeline
