#pragma once

#include "ditmoe/diffusion/denoiser.h"
#include "ditmoe/training/dit_module.h"

namespace ditmoe::training {

// A module behind the samplers' interface. No gradients are recorded. Where ATen multiplies, an
// image is the same in any batch to rounding only.
class TorchDenoiser final : public diffusion::Denoiser {
 public:
  // module must outlive the denoiser; its parameters lie on that device.
  explicit TorchDenoiser(const DitModule& module, at::Device device = at::kCPU)
      : module_(module), device_(device) {}

  diffusion::ImageShape input_shape() const override;
  int64_t output_channels() const override;
  int64_t num_classes() const override;
  void predict(std::span<const float> x_NCHW,
               std::span<const float> t_N,
               std::span<const int32_t> y_N,
               std::span<float> out) override;

 private:
  const DitModule& module_;
  at::Device device_;
};

}  // namespace ditmoe::training
