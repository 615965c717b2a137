#include "ditmoe/training/batches.h"

#include <algorithm>

#include <torch/torch.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/training/random_streams.h"

namespace ditmoe::training {
namespace {

int64_t used_images(const Recipe& recipe, const data::Dataset& dataset) {
  return recipe.data_limit > 0 ? std::min(recipe.data_limit, dataset.size()) : dataset.size();
}

}  // namespace

Batches::Batches(const Recipe& recipe,
                 const data::Dataset& dataset,
                 const TrainingObjective& objective)
    : recipe_(recipe),
      dataset_(dataset),
      objective_(objective),
      order_(used_images(recipe, dataset), recipe.seed) {}

TrainingBatch Batches::at(int64_t first, int64_t count) {
  const int64_t elements = dataset_.image_elements();
  TrainingBatch batch;
  batch.x_start =
      at::empty({count, dataset_.channels(), dataset_.height(), dataset_.width()}, at::kFloat);
  batch.noise = at::empty_like(batch.x_start);
  batch.y = at::empty({count}, at::kLong);
  at::Tensor uniform = at::empty({count}, at::kFloat);
  at::Tensor normal = at::empty({count}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const auto sample = static_cast<uint64_t>(first + i);
    const auto key = [&](uint32_t purpose) {
      return base::RandomKey{recipe_.seed, sample, purpose};
    };
    const auto image = [&](at::Tensor& images) {
      return std::span<float>(images.data_ptr<float>() + i * elements,
                              static_cast<size_t>(elements));
    };
    const int64_t item = order_.at(first + i);
    dataset_.read(item, image(batch.x_start));
    base::fill_normal(image(batch.noise), key(stream::kNoise));
    base::fill_uniform({uniform.data_ptr<float>() + i, 1}, key(stream::kTime));
    base::fill_normal({normal.data_ptr<float>() + i, 1}, key(stream::kTime));
    float drop = 0;
    base::fill_uniform({&drop, 1}, key(stream::kLabelDrop));
    const bool dropped = static_cast<double>(drop) < recipe_.label_dropout;
    batch.y.data_ptr<int64_t>()[i] = dropped ? recipe_.model.num_classes : dataset_.label(item);
  }
  batch.t = objective_.draw_times(uniform, normal);
  return batch;
}

}  // namespace ditmoe::training
