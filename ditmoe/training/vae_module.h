#pragma once

#include <cstdint>
#include <string>

#include <torch/types.h>

#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/vae_config.h"
#include "ditmoe/training/flat_tensors.h"

namespace ditmoe::training {

// What an encoder makes of images: Gaussians with independent values, [B, latent_channels, h, w].
struct Posterior {
  at::Tensor mean;
  at::Tensor logvar;  // clamped to [-30, 20]

  // mean + e^(logvar/2) · noise
  at::Tensor sample(const at::Tensor& noise) const;

  // The divergence from standard normal values, the mean over all values, in nats:
  //   (mean² + e^logvar - 1 - logvar) / 2
  at::Tensor divergence() const;
};

// The function of networks::Vae, differentiable. Stays on the calling thread if ATen does; several
// threads may each use one, over the same weights.
class VaeModule {
 public:
  // weights: of tensor_specs(config), must outlive the object. In bf16 maps are bfloat16, what
  // latents are made of f32; sums are f32 or wider in either.
  VaeModule(const networks::VaeConfig& config,
            const Leaves& weights,
            kernels::Precision precision = kernels::Precision::kF32);

  // images f32 [B, image_channels, H, W] in [-1, 1], sides multiples of config.factor().
  Posterior encode(const at::Tensor& images) const;

  // latents f32 [B, latent_channels, h, w] → images f32, nominally in [-1, 1].
  at::Tensor decode(const at::Tensor& latents) const;

 private:
  at::Tensor convolution(const std::string& name,
                         const at::Tensor& x,
                         int64_t stride,
                         int64_t padding) const;
  at::Tensor norm(const std::string& name, const at::Tensor& x, bool silu) const;
  at::Tensor res_block(const std::string& name, const at::Tensor& x) const;
  at::Tensor attention(const std::string& name, const at::Tensor& x) const;
  at::Tensor middle(const std::string& name, const at::Tensor& x) const;
  at::Tensor level(const std::string& name, int64_t level, int64_t blocks, at::Tensor x) const;

  networks::VaeConfig config_;
  const Leaves& weights_;
  at::ScalarType map_type_;
};

// Weights to begin with, drawn from the seed alone: convolutions uniform with the deviation
// 1/sqrt(inputs), which keeps maps their size; the last of each residual block and of attention
// zero, so that blocks begin as nothing; norms 1, biases 0.
void initialise_vae(const FlatLayout& layout, const at::Tensor& values, uint64_t seed);

}  // namespace ditmoe::training
