#pragma once

#include "ditmoe/diffusion/denoiser.h"
#include "ditmoe/training/dit_module.h"

namespace ditmoe::training {

// A module behind the samplers' interface. No gradients are recorded.
class TorchDenoiser final : public diffusion::Denoiser {
 public:
  // module must outlive the denoiser.
  explicit TorchDenoiser(const DitModule& module) : module_(module) {}

  diffusion::ImageShape input_shape() const override;
  int64_t output_channels() const override;
  int64_t num_classes() const override;
  void predict(std::span<const float> x_NCHW,
               std::span<const float> t_N,
               std::span<const int32_t> y_N,
               std::span<float> out) override;

 private:
  const DitModule& module_;
};

}  // namespace ditmoe::training
