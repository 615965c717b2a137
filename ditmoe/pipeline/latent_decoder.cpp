#include "ditmoe/pipeline/latent_decoder.h"

#include <span>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"

namespace ditmoe::pipeline {
namespace {

std::shared_ptr<const networks::VaeWeights> open_fitting(const std::string& path,
                                                         const networks::DitConfig& model,
                                                         const std::string& model_name) {
  auto weights = networks::open_vae(path);
  const int64_t channels = weights->config().latent_channels;
  if (channels != model.channels) {
    base::bad_input(
        "{}: expected an autoencoder with latents of {} channels, as {} draws, found {}",
        path,
        model.channels,
        model_name,
        channels);
  }
  return weights;
}

networks::VaeOptions options_of(kernels::Precision precision) {
  const bool f32 = precision == kernels::Precision::kF32;
  return {.precision = f32 ? kernels::Precision::kF32 : kernels::Precision::kBf16};
}

}  // namespace

LatentDecoder::LatentDecoder(const std::string& path,
                             const networks::DitConfig& model,
                             const std::string& model_name,
                             kernels::Precision precision,
                             base::ThreadPool& pool)
    : LatentDecoder(open_fitting(path, model, model_name), model, precision, pool) {}

LatentDecoder::LatentDecoder(std::shared_ptr<const networks::VaeWeights> weights,
                             const networks::DitConfig& model,
                             kernels::Precision precision,
                             base::ThreadPool& pool)
    : scaling_factor_(weights->scaling_factor()),
      shift_(weights->shift()),
      image_size_(model.image_size * weights->config().factor()),
      vae_(std::move(weights), options_of(precision), pool) {}

base::Tensor LatentDecoder::decode(const base::Tensor& latents_NCHW,
                                   const std::function<void(int64_t done)>& after_image) {
  const int64_t count = latents_NCHW.dim(0);
  const int64_t height = latents_NCHW.dim(2);
  const int64_t width = latents_NCHW.dim(3);
  const int64_t factor = vae_.config().factor();
  const auto size = static_cast<size_t>(latents_NCHW.size() / count);
  base::Tensor images(base::DType::kF32,
                      {count, image_channels(), factor * height, factor * width});
  const auto image = static_cast<size_t>(images.size() / count);
  std::vector<float> latent(size);
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const auto source = latents_NCHW.as<float>().subspan(i * size, size);
    for (size_t k = 0; k < size; ++k) {
      latent[k] = static_cast<float>(source[k] / scaling_factor_ + shift_);
    }
    vae_.decode(latent, height, width, images.as<float>().subspan(i * image, image));
    if (after_image) after_image(static_cast<int64_t>(i) + 1);
  }
  return images;
}

}  // namespace ditmoe::pipeline
