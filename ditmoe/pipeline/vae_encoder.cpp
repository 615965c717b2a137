#include "ditmoe/pipeline/vae_encoder.h"

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/checksum.h"

namespace ditmoe::pipeline {
namespace {

// Bytes to [-1, 1], in the steps and roundings of torchvision's ToTensor and Normalize.
void to_planes(const uint8_t* pixels_HWC, int64_t num_pixels, float* out_CHW) {
  for (int64_t c = 0; c < 3; ++c) {
    float* plane = out_CHW + c * num_pixels;
    for (int64_t i = 0; i < num_pixels; ++i) {
      plane[i] = (static_cast<float>(pixels_HWC[3 * i + c]) / 255.0F - 0.5F) / 0.5F;
    }
  }
}

// Every field, among them the groups of the norms, which no tensor's shape tells.
std::string text_of(const networks::VaeConfig& config) {
  // By position, so that a new field cannot be forgotten.
  const auto& [image_channels,
               channels,
               widths,
               num_res_blocks,
               z_channels,
               latent_channels,
               quant_conv,
               middle_attention,
               level_attention,
               groups] = config;
  std::string text = fmt::format("{} {} {} {} {} {} {} {}",
                                 image_channels,
                                 channels,
                                 num_res_blocks,
                                 z_channels,
                                 latent_channels,
                                 quant_conv,
                                 middle_attention,
                                 groups);
  for (const int64_t width : widths) text += fmt::format(" {}", width);
  for (const bool attention : level_attention) text += fmt::format(" {}", attention);
  return text;
}

}  // namespace

VaeEncoder::VaeEncoder(const std::string& path,
                       const networks::VaeOptions& options,
                       base::ThreadPool& pool)
    : path_(path), weights_(networks::open_vae(path)), vae_(weights_, options, pool) {
  if (vae_.config().image_channels != 3) {
    base::bad_input("{}: expected an autoencoder of RGB images, found {} channels",
                    path_,
                    vae_.config().image_channels);
  }
}

void VaeEncoder::describe(data::LatentSettings& settings) const {
  settings.autoencoder = encoder_fingerprint(*weights_);
  settings.precision = kernels::to_word(vae_.computed());
  settings.scale = weights_->scaling_factor();
  settings.shift = weights_->shift();
}

base::Shape VaeEncoder::latent_shape(int64_t image_size) const {
  const int64_t factor = vae_.config().factor();
  if (image_size < factor || image_size % factor != 0) {
    base::bad_input("{}: expected images with sides that are multiples of {} pixels, found {}",
                    path_,
                    factor,
                    image_size);
  }
  return {vae_.config().latent_channels, image_size / factor, image_size / factor};
}

void VaeEncoder::encode(const base::TensorView& images_NHWC,
                        std::span<float> mean,
                        std::span<float> logvar) {
  const int64_t num_images = images_NHWC.shape.at(0);
  const int64_t height = images_NHWC.shape.at(1);
  const int64_t width = images_NHWC.shape.at(2);
  const auto values = static_cast<size_t>(3 * height * width);
  image_CHW_.resize(values);
  // The autoencoder takes one at a time anyway, and floats of them all would be much.
  for (size_t n = 0; n < static_cast<size_t>(num_images); ++n) {
    const size_t latent = mean.size() / static_cast<size_t>(num_images);
    to_planes(images_NHWC.as<uint8_t>().data() + n * values, height * width, image_CHW_.data());
    vae_.encode(image_CHW_,
                height,
                width,
                mean.subspan(n * latent, latent),
                logvar.subspan(n * latent, latent));
  }
}

std::string encoder_fingerprint(const networks::VaeWeights& weights) {
  formats::Hasher64 hasher;
  const std::string configuration = text_of(weights.config());
  hasher.update(std::as_bytes(std::span(configuration)));
  for (const networks::TensorSpec& spec : networks::tensor_specs(weights.config())) {
    if (!spec.name.starts_with("encoder.") && !spec.name.starts_with("quant_conv.")) continue;
    const base::Tensor weight = weights.read(spec.name);
    hasher.update(std::as_bytes(std::span(spec.name)));
    hasher.update({weight.view().data, weight.bytes()});
  }
  return fmt::format("{:016x}", hasher.digest());
}

}  // namespace ditmoe::pipeline
