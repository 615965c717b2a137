#include "ditmoe/networks/dit_executor.h"

#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/memory.h"
#include "ditmoe/networks/dit_forward.h"
#include "ditmoe/networks/memory_plan.h"
#include "ditmoe/networks/packed_file.h"

namespace ditmoe::networks {

DitExecutor::DitExecutor(const WeightSource& weights,
                         const ExecutorOptions& options,
                         base::ThreadPool& pool) {
  check_memory(weights.config(), options.precision);
  forward_ = std::make_unique<DitForward>(
      weights.config(), options, pool, [&](kernels::Matmul& matmul, base::Arena& arena) {
        return std::make_unique<PackingSource>(weights, options.precision, matmul, arena);
      });
}

DitExecutor::DitExecutor(const ModelFile& model,
                         const ExecutorOptions& options,
                         base::ThreadPool& pool)
    : model_(model) {
  const auto packed = model.packed();
  if (packed && *packed != options.precision) {
    base::bad_input("{}: its weights are packed in {} and cannot be computed in {}",
                    model.path(),
                    kernels::to_word(*packed),
                    kernels::to_word(options.precision));
  }
  const std::optional<uint64_t> stream_bytes = plan_memory(model, options);
  std::unique_ptr<ExpertStream> stream;
  if (stream_bytes) {
    stream = std::make_unique<ExpertStream>(
        model.path(),
        expert_regions(*model.file(), model.config(), *packed),
        *stream_bytes,
        [checksums = PackedChecksums(*model.file())](const ExpertRegion& region,
                                                     std::span<const std::byte> bytes) {
          checksums.check_region(region.offset, bytes);
        });
    streamed_bytes_ = stream->streamed_bytes();
    base::log_info(
        "{}: the experts of {} layers stay in memory, {} of others are read from "
        "disk in each step",
        model.path(),
        stream->resident_layers(),
        base::bytes_text(stream->streamed_bytes()));
  }
  const FileWeights weights(model);
  forward_ = std::make_unique<DitForward>(
      model.config(),
      options,
      pool,
      [&](kernels::Matmul& matmul, base::Arena& arena) -> std::unique_ptr<MatrixSource> {
        if (packed) {
          return std::make_unique<PackedSource>(
              model.file(), model.config(), *packed, stream != nullptr, matmul, arena);
        }
        return std::make_unique<PackingSource>(weights, options.precision, matmul, arena);
      });
  if (stream) forward_->stream_experts(std::move(stream), packed_base(model));
}

kernels::Precision DitExecutor::computed() const { return forward_->products().computed(); }

Profile& DitExecutor::profile() { return forward_->profile(); }

DitExecutor::~DitExecutor() = default;

diffusion::ImageShape DitExecutor::input_shape() const {
  const DitConfig& config = forward_->config();
  return {config.channels, config.image_size, config.image_size};
}

int64_t DitExecutor::output_channels() const { return forward_->config().output_channels(); }

int64_t DitExecutor::num_classes() const { return forward_->config().num_classes; }

void DitExecutor::check(std::span<const float> x_NCHW,
                        std::span<const float> t_N,
                        std::span<const int32_t> y_N,
                        std::span<const float> out) const {
  const diffusion::ImageShape in = input_shape();
  const auto images = static_cast<int64_t>(t_N.size());
  DITMOE_ASSERT(y_N.size() == t_N.size());
  DITMOE_ASSERT(static_cast<int64_t>(x_NCHW.size()) == images * in.size());
  DITMOE_ASSERT(static_cast<int64_t>(out.size()) ==
                images * output_channels() * in.height * in.width);
  for (const int32_t label : y_N) {
    if (label < 0 || label > num_classes()) {
      base::bad_input("label {} is out of range: expected 0 to {}, where {} means no class",
                      label,
                      num_classes(),
                      num_classes());
    }
  }
}

void DitExecutor::predict(std::span<const float> x_NCHW,
                          std::span<const float> t_N,
                          std::span<const int32_t> y_N,
                          std::span<float> out) {
  check(x_NCHW, t_N, y_N, out);
  ++forwards_;
  forward_->run(x_NCHW, t_N, y_N, out, nullptr);
}

void DitExecutor::predict_traced(std::span<const float> x_NCHW,
                                 std::span<const float> t_N,
                                 std::span<const int32_t> y_N,
                                 std::span<float> out,
                                 RoutingTrace& trace) {
  check(x_NCHW, t_N, y_N, out);
  ++forwards_;
  forward_->run(x_NCHW, t_N, y_N, out, &trace);
}

}  // namespace ditmoe::networks
