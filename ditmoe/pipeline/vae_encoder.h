#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/data/latent_cache.h"
#include "ditmoe/data/latent_encoder.h"
#include "ditmoe/networks/vae.h"

namespace ditmoe::pipeline {

// An autoencoder as what a latent cache is made with.
class VaeEncoder final : public data::LatentEncoder {
 public:
  // Opens the file or folder as networks::open_vae does, and throws as it does; bad_input for an
  // autoencoder of other than RGB images. pool must outlive the object.
  VaeEncoder(const std::string& path, const networks::VaeOptions& options, base::ThreadPool& pool);

  // What a cache has to know of the autoencoder: weights and shape, precision, scale and shift.
  void describe(data::LatentSettings& settings) const;

  base::Shape latent_shape(int64_t image_size) const override;

  void encode(const base::TensorView& images_NHWC,
              std::span<float> mean,
              std::span<float> logvar) override;

 private:
  std::string path_;
  std::shared_ptr<const networks::VaeWeights> weights_;
  networks::Vae vae_;
  std::vector<float> image_CHW_;
};

// 16 hexadecimal digits that differ where a weight of the encoder or the autoencoder's
// configuration does, whatever kind of file it stands in.
std::string encoder_fingerprint(const networks::VaeWeights& weights);

}  // namespace ditmoe::pipeline
