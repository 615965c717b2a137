#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/diffusion/denoiser.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/model_file.h"
#include "ditmoe/networks/weight_source.h"

namespace ditmoe::networks {

class DitForward;
class Profile;

// Experts chosen in one forward, blocks with experts in order of depth. Per token, or per image of
// a Switch-DiT, the K choices are sorted by expert index.
struct RoutingTrace {
  int64_t moe_layers = 0;
  int64_t tokens = 0;  // N · T; N of a Switch-DiT
  int64_t top_k = 0;
  std::vector<int32_t> index;  // [moe_layers, N·T, K]
  std::vector<float> weight;   // [moe_layers, N·T, K] softmax values, not renormalised
};

// How to compute.
struct ExecutorOptions {
  kernels::Precision precision = kernels::Precision::kF32;
  base::Isa isa = base::chosen_isa();  // one that the CPU has
  // Bytes that the process may take; experts of a packed file that do not fit stream from disk.
  // Without, all has to fit into what is free.
  std::optional<uint64_t> memory;
};

// The torch-free forward of DiT-MoE, DiT, Switch-DiT and the dense SwiGLU control on a CPU. Weights
// are converted and packed once when made. One predict at a time. Bits of an image depend on the
// precision and the instruction set, but neither on the batch nor on the number of threads.
class DitExecutor final : public diffusion::Denoiser {
 public:
  // pool must outlive the executor; the source is not needed any more. Throws bad_input for a
  // packed file of another precision, and for a model that does not fit into memory.
  DitExecutor(const WeightSource& weights, const ExecutorOptions& options, base::ThreadPool& pool);
  DitExecutor(const ModelFile& model, const ExecutorOptions& options, base::ThreadPool& pool);
  ~DitExecutor() override;

  diffusion::ImageShape input_shape() const override;
  int64_t output_channels() const override;
  int64_t num_classes() const override;
  void predict(std::span<const float> x_NCHW,
               std::span<const float> t_N,
               std::span<const int32_t> y_N,
               std::span<float> out) override;

  // The same, and records who went to which expert.
  void predict_traced(std::span<const float> x_NCHW,
                      std::span<const float> t_N,
                      std::span<const int32_t> y_N,
                      std::span<float> out,
                      RoutingTrace& trace);

  // What the large products compute in: f32 where the CPU cannot do what was asked for.
  kernels::Precision computed() const;

  // How many forwards were made.
  int64_t forwards() const { return forwards_; }

  // What each forward reads from disk: experts that do not fit into memory.
  uint64_t streamed_bytes() const { return streamed_bytes_; }

  // Time spent per part, once enabled.
  Profile& profile();

 private:
  void check(std::span<const float> x_NCHW,
             std::span<const float> t_N,
             std::span<const int32_t> y_N,
             std::span<const float> out) const;

  std::optional<ModelFile> model_;  // keeps mapped what is used in place
  std::unique_ptr<DitForward> forward_;
  uint64_t streamed_bytes_ = 0;
  int64_t forwards_ = 0;
};

}  // namespace ditmoe::networks
