#include "ditmoe/training/sample_grid.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <torch/torch.h>

#include "ditmoe/base/thread_pool.h"
#include "ditmoe/pipeline/generate.h"
#include "ditmoe/pipeline/grid.h"
#include "ditmoe/pipeline/latent_decoder.h"
#include "ditmoe/training/torch_denoiser.h"

namespace ditmoe::training {
namespace {

// The channels a picture can show: all of 1 or 3, else the first three, else the first.
base::Tensor visible_channels(base::Tensor images_NCHW) {
  const int64_t channels = images_NCHW.dim(1);
  if (channels == 1 || channels == 3) return images_NCHW;
  const int64_t shown = channels > 3 ? 3 : 1;
  const int64_t pixels = images_NCHW.dim(2) * images_NCHW.dim(3);
  base::Tensor result(base::DType::kF32,
                      {images_NCHW.dim(0), shown, images_NCHW.dim(2), images_NCHW.dim(3)});
  for (int64_t image = 0; image < images_NCHW.dim(0); ++image) {
    std::copy_n(images_NCHW.as<float>().data() + image * channels * pixels,
                shown * pixels,
                result.as<float>().data() + image * shown * pixels);
  }
  return result;
}

base::Tensor decode(const Recipe& recipe, base::Tensor images_NCHW) {
  if (recipe.vae.empty()) return visible_channels(std::move(images_NCHW));
  base::ThreadPool pool(at::get_num_threads());
  pipeline::LatentDecoder decoder(
      recipe.vae, recipe.model, "the recipe", kernels::Precision::kF32, pool);
  return decoder.decode(images_NCHW);
}

}  // namespace

formats::Image draw_sample_grid(const Recipe& recipe,
                                const DitModule& module,
                                const std::vector<std::string>& class_names) {
  TorchDenoiser denoiser(module);
  pipeline::GenerateRequest request;
  request.sampler = recipe.sampling.sampler;
  request.steps = recipe.sampling.steps;
  request.guidance = {recipe.sampling.cfg, recipe.sampling.cfg_channels == "all"};
  for (int64_t label = 0; label < recipe.model.num_classes; ++label) {
    request.labels.insert(
        request.labels.end(), recipe.samples_per_class, static_cast<int32_t>(label));
  }
  const base::Tensor images =
      pipeline::to_uint8_NHWC(decode(recipe, pipeline::generate(denoiser, request)));
  pipeline::GridLayout layout;
  layout.columns = recipe.samples_per_class;
  layout.scale = images.dim(1) < 64 ? 2 : 1;
  layout.row_labels = class_names;
  return pipeline::make_grid(images, layout);
}

formats::Image draw_expert_loads(const at::Tensor& loads_LE) {
  constexpr int64_t kCell = 24;
  constexpr double kFull[3] = {31, 78, 121};
  const int64_t layers = loads_LE.size(0);
  const int64_t experts = loads_LE.size(1);
  formats::Image image{experts * kCell, layers * kCell, 3, {}, {}};
  image.pixels_HWC.resize(static_cast<size_t>(image.width * image.height * 3));
  const at::Tensor dense = loads_LE.contiguous();
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      const double load = dense.data_ptr<double>()[y / kCell * experts + x / kCell];
      const double share = std::clamp(load / 2.0, 0.0, 1.0);
      for (int64_t c = 0; c < 3; ++c) {
        image.pixels_HWC[static_cast<size_t>((y * image.width + x) * 3 + c)] =
            static_cast<uint8_t>(std::lround(255.0 + share * (kFull[c] - 255.0)));
      }
    }
  }
  return image;
}

}  // namespace ditmoe::training
