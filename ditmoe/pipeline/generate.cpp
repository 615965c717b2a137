#include "ditmoe/pipeline/generate.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace ditmoe::pipeline {

int64_t default_batch(const diffusion::ImageShape& shape) {
  // With guidance this many elements are 64 images of 4x32x32: a hidden layer of the largest
  // networks then stays below a gigabyte.
  constexpr int64_t kElements = int64_t{1} << 17;
  constexpr int64_t kMost = 32;
  return std::clamp<int64_t>(kElements / shape.size(), 1, kMost);
}

base::Tensor generate(diffusion::Denoiser& denoiser,
                      const GenerateRequest& request,
                      const GenerateProgress& progress) {
  const diffusion::ImageShape shape = denoiser.input_shape();
  const auto sampler = diffusion::make_sampler(request.sampler, request.steps);
  const int64_t count = static_cast<int64_t>(request.labels.size());
  const int64_t batch = request.batch > 0 ? request.batch : default_batch(shape);
  const int64_t steps_total = (count + batch - 1) / batch * request.steps;
  base::Tensor images(base::DType::kF32, {count, shape.channels, shape.height, shape.width});
  int64_t steps_before = 0;
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t size = std::min(batch, count - first);
    const auto noise = diffusion::philox_noise(request.seed, request.first_image + first);
    const std::span<float> x_NCHW =
        images.as<float>().subspan(first * shape.size(), size * shape.size());
    for (int64_t i = 0; i < size; ++i) {
      noise(i, -1, x_NCHW.subspan(i * shape.size(), shape.size()));
    }
    sampler->run(denoiser,
                 request.guidance,
                 std::span(request.labels).subspan(first, size),
                 noise,
                 x_NCHW,
                 [&](int64_t done, int64_t) {
                   if (progress) progress(steps_before + done, steps_total);
                 });
    steps_before += request.steps;
  }
  return images;
}

int64_t count_not_finite(const base::Tensor& images_NCHW) {
  const int64_t count = images_NCHW.dim(0);
  if (count == 0) return 0;
  const auto size = static_cast<size_t>(images_NCHW.size() / count);
  int64_t found = 0;
  for (int64_t n = 0; n < count; ++n) {
    const auto image = images_NCHW.as<float>().subspan(static_cast<size_t>(n) * size, size);
    found += std::ranges::all_of(image, [](float x) { return std::isfinite(x); }) ? 0 : 1;
  }
  return found;
}

base::Tensor to_uint8_NHWC(const base::Tensor& images_NCHW) {
  const int64_t count = images_NCHW.dim(0);
  const int64_t channels = images_NCHW.dim(1);
  const int64_t height = images_NCHW.dim(2);
  const int64_t width = images_NCHW.dim(3);
  const int64_t plane = height * width;
  base::Tensor images_NHWC(base::DType::kU8, {count, height, width, channels});
  const auto source = images_NCHW.as<float>();
  const auto target = images_NHWC.as<uint8_t>();
  for (int64_t n = 0; n < count; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < plane; ++p) {
        const float value = 127.5F * source[(n * channels + c) * plane + p] + 128.0F;
        // max and min in this order turn NaN into 0.
        const float clamped = std::min(255.0F, std::max(0.0F, value));
        target[(n * plane + p) * channels + c] = static_cast<uint8_t>(clamped);
      }
    }
  }
  return images_NHWC;
}

}  // namespace ditmoe::pipeline
