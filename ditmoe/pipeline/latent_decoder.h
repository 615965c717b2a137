#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "ditmoe/base/tensor.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/vae.h"

namespace ditmoe::pipeline {

// From the latents that a diffusion model draws to images, by an autoencoder.
class LatentDecoder {
 public:
  // path: a file or folder, see networks::open_vae; reads headers only, weights are packed by the
  // first image. int8 stands for bf16, which an autoencoder computes in at least. pool must outlive
  // the object. model_name: in messages. Throws bad_input where the file is no autoencoder or its
  // latents are not what the model draws.
  LatentDecoder(const std::string& path,
                const networks::DitConfig& model,
                const std::string& model_name,
                kernels::Precision precision,
                base::ThreadPool& pool);

  // Height and width of the images, of the model's latents.
  int64_t image_size() const { return image_size_; }

  int64_t image_channels() const { return vae_.config().image_channels; }

  // Images [N, image_channels, image_size, image_size], nominally in [-1, 1], of latents
  // [N, C, H, W] at the scale that diffusion models learn: divided by the autoencoder's scaling
  // factor (0.18215 unless its configuration says otherwise), and its shift added. after_image is
  // told how many are done.
  base::Tensor decode(const base::Tensor& latents_NCHW,
                      const std::function<void(int64_t done)>& after_image = {});

 private:
  LatentDecoder(std::shared_ptr<const networks::VaeWeights> weights,
                const networks::DitConfig& model,
                kernels::Precision precision,
                base::ThreadPool& pool);

  double scaling_factor_;
  double shift_;
  int64_t image_size_;
  networks::Vae vae_;
};

}  // namespace ditmoe::pipeline
