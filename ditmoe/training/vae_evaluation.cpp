#include "ditmoe/training/vae_evaluation.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "ditmoe/base/tensor.h"
#include "ditmoe/kernels/one_thread.h"
#include "ditmoe/pipeline/generate.h"
#include "ditmoe/pipeline/grid.h"

namespace ditmoe::training {
namespace {

constexpr int64_t kBatch = 8;
constexpr int64_t kPairsInARow = 4;

// Of pixels in [-1, 1]. No error at all counts as 100 dB.
double psnr_of(double mse) {
  return mse > 0 ? std::min(10.0 * std::log10(4.0 / mse), 100.0) : 100.0;
}

at::Tensor read_images(const data::TrainingStream& stream, int64_t first, int64_t count) {
  at::Tensor images =
      at::empty({count, stream.channels(), stream.height(), stream.width()}, at::kFloat);
  const auto elements = static_cast<size_t>(stream.image_elements());
  for (int64_t i = 0; i < count; ++i) {
    stream.read(first + i,
                {images.data_ptr<float>() + static_cast<size_t>(i) * elements, elements});
  }
  return images;
}

int64_t num_batches(int64_t images) { return (images + kBatch - 1) / kBatch; }

// Sums over the latents of some images.
struct LatentSums {
  void add(const LatentSums& other) {
    values_C = values_C + other.values_C;
    squares_C = squares_C + other.squares_C;
    variance += other.variance;
    kl += other.kl;
  }

  at::Tensor values_C, squares_C;  // f64, by channel
  double variance = 0;             // of the posteriors
  double kl = 0;                   // of the images
};

LatentStatistics statistics_of(const LatentSums& sum, int64_t images, int64_t pixels) {
  const auto values = static_cast<double>(images * pixels);  // of a channel
  const auto deviation = [](double square, double mean) {
    return std::sqrt(std::max(square - mean * mean, 0.0));
  };
  const at::Tensor mean_C = sum.values_C / values;
  const at::Tensor square_C = sum.squares_C / values;
  LatentStatistics result;
  result.mean = mean_C.mean().item<double>();
  result.deviation = deviation(square_C.mean().item<double>(), result.mean);
  result.noise_deviation = std::sqrt(sum.variance / (values * static_cast<double>(mean_C.numel())));
  result.kl = sum.kl / static_cast<double>(images);
  for (int64_t c = 0; c < mean_C.numel(); ++c) {
    result.channel_means.push_back(mean_C[c].item<double>());
    result.channel_deviations.push_back(
        deviation(square_C[c].item<double>(), result.channel_means.back()));
  }
  return result;
}

base::Tensor as_base(const at::Tensor& images_NCHW) {
  base::Tensor copy(base::DType::kF32, images_NCHW.sizes().vec());
  const at::Tensor dense = images_NCHW.contiguous();
  std::copy_n(dense.data_ptr<float>(), dense.numel(), copy.as<float>().data());
  return copy;
}

}  // namespace

VaeEvaluation::VaeEvaluation(const VaeRecipe& recipe, const VaeState& state, base::ThreadPool& pool)
    : recipe_(recipe), state_(state), pool_(pool) {}

void VaeEvaluation::for_batches(const data::TrainingStream& stream,
                                int64_t images,
                                base::FunctionRef<void(const Batch& batch)> work) const {
  const Leaves weights(state_.network.layout, state_.ema, false);
  const VaeModule module(recipe_.model, weights, computed_precision(recipe_));
  pool_.run(num_batches(images), [&](int64_t number, int /*thread*/) {
    const kernels::OneThread one_thread;
    const torch::NoGradGuard no_grad;
    const int64_t first = number * kBatch;
    const int64_t count = std::min(kBatch, images - first);
    work({number, first, read_images(stream, first, count), module});
  });
}

Reconstruction VaeEvaluation::reconstruction(const data::TrainingStream& stream,
                                             int64_t images) const {
  std::vector<double> errors(static_cast<size_t>(images));  // of each image
  for_batches(stream, images, [&](const Batch& batch) {
    const VaeModule& module = batch.module;
    const at::Tensor decoded = module.decode(module.encode(batch.images).mean).clamp(-1, 1);
    const at::Tensor mse = (decoded - batch.images).square().mean({1, 2, 3});
    for (int64_t i = 0; i < mse.numel(); ++i) {
      errors[static_cast<size_t>(batch.first + i)] = mse[i].item<double>();
    }
  });
  Reconstruction result;
  for (const double error : errors) {
    result.mse += error / static_cast<double>(images);
    result.image_psnr += psnr_of(error) / static_cast<double>(images);
  }
  result.psnr = psnr_of(result.mse);
  return result;
}

LatentStatistics VaeEvaluation::latents(const data::TrainingStream& stream, int64_t images) const {
  std::vector<LatentSums> sums(static_cast<size_t>(num_batches(images)));
  for_batches(stream, images, [&](const Batch& batch) {
    const int64_t count = batch.images.size(0);
    const Posterior posterior = batch.module.encode(batch.images);
    const at::Tensor sample =
        posterior.sample(latent_noise(recipe_, batch.first, count)).to(at::kDouble);
    LatentSums& own = sums[static_cast<size_t>(batch.number)];
    own.values_C = sample.sum({0, 2, 3});
    own.squares_C = sample.square().sum({0, 2, 3});
    own.variance = at::exp(posterior.logvar).to(at::kDouble).sum().item<double>();
    own.kl = posterior.divergence().item<double>() * static_cast<double>(count);
  });
  LatentSums sum = sums.front();
  for (size_t i = 1; i < sums.size(); ++i) sum.add(sums[i]);
  const int64_t side = recipe_.image_size / recipe_.model.factor();
  return statistics_of(sum, images, side * side);
}

formats::Image VaeEvaluation::pairs(const data::TrainingStream& stream, int64_t images) const {
  at::Tensor sheet =
      at::empty({2 * images, stream.channels(), stream.height(), stream.width()}, at::kFloat);
  for_batches(stream, images, [&](const Batch& batch) {
    const at::Tensor decoded = batch.module.decode(batch.module.encode(batch.images).mean);
    for (int64_t i = 0; i < batch.images.size(0); ++i) {
      sheet[2 * (batch.first + i)].copy_(batch.images[i]);
      sheet[2 * (batch.first + i) + 1].copy_(decoded[i]);
    }
  });
  pipeline::GridLayout layout;
  layout.columns = 2 * std::min(kPairsInARow, images);
  layout.scale = pipeline::comfortable_scale(stream.height());
  return pipeline::make_grid(pipeline::to_uint8_NHWC(as_base(sheet)), layout);
}

}  // namespace ditmoe::training
