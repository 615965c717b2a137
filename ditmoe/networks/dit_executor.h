#pragma once

#include <memory>
#include <vector>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/diffusion/denoiser.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::networks {

class DitForward;

// Experts chosen in one forward, MoE blocks in order of depth. Per token the K choices are sorted
// by expert index.
struct RoutingTrace {
  int64_t moe_layers = 0;
  int64_t tokens = 0;  // N · T
  int64_t top_k = 0;
  std::vector<int32_t> index;  // [moe_layers, N·T, K]
  std::vector<float> weight;   // [moe_layers, N·T, K] softmax values, not renormalised
};

// The torch-free forward of DiT-MoE, DiT and the dense SwiGLU control in f32 on a CPU.
// Weights are converted and packed once when made. One predict at a time.
class DitExecutor final : public diffusion::Denoiser {
 public:
  // pool must outlive the executor.
  DitExecutor(const ModelFile& model, base::ThreadPool& pool);
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

 private:
  void check(std::span<const float> x_NCHW,
             std::span<const float> t_N,
             std::span<const int32_t> y_N,
             std::span<const float> out) const;

  std::unique_ptr<DitForward> forward_;
};

}  // namespace ditmoe::networks
