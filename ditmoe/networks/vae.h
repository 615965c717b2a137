#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/vae_config.h"
#include "ditmoe/networks/vae_weights.h"

namespace ditmoe::networks {

// How to compute.
struct VaeOptions {
  kernels::Precision precision = kernels::Precision::kF32;  // or kBf16
  base::Isa isa = base::chosen_isa();                       // one that the CPU has
  int64_t band_rows = 0;  // rows of a map computed at a time, for tests; 0 chooses
};

// The torch-free autoencoder on a CPU. Maps between layers are f32; in bf16 what enters the
// products is rounded, but for the first and the last convolution of each half. One image at a
// time, its rows shared out among the threads; bits of an image depend on the precision and the
// instruction set alone. Memory is three maps as large as the largest two layers need: 2.3 GB to
// decode 1024x1024 pixels. One call at a time.
class Vae {
 public:
  // pool must outlive the object. Weights are read and packed for each half when it is first used.
  Vae(std::shared_ptr<const VaeWeights> weights, const VaeOptions& options, base::ThreadPool& pool);
  ~Vae();
  Vae(const Vae&) = delete;
  Vae& operator=(const Vae&) = delete;

  const VaeConfig& config() const;

  // What the products compute in: f32 where the CPU cannot do what was asked for.
  kernels::Precision computed() const;

  // The posterior of images in [-1, 1]: its mean and the logarithm of its variance, the latter
  // clamped to [-30, 20].
  //   images_NCHW [N, image_channels, height, width], mean and logvar
  //   [N, latent_channels, height / factor, width / factor]
  // Throws bad_input where height or width is no multiple of factor().
  void encode(std::span<const float> images_NCHW,
              int64_t height,
              int64_t width,
              std::span<float> mean,
              std::span<float> logvar);

  // The images of latents as the posterior has them, nominally in [-1, 1], not clipped.
  //   latents_NCHW [N, latent_channels, height, width],
  //   images [N, image_channels, factor · height, factor · width]
  void decode(std::span<const float> latents_NCHW,
              int64_t height,
              int64_t width,
              std::span<float> images);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Draws from posteriors: mean + e^(logvar / 2) · noise for N images of `size` latents each. The
// noise of image i is that of number first_image + i of the seed, whatever the others.
void sample_posterior(std::span<const float> mean,
                      std::span<const float> logvar,
                      int64_t size,
                      uint64_t seed,
                      int64_t first_image,
                      std::span<float> latents);

}  // namespace ditmoe::networks
