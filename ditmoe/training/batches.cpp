#include "ditmoe/training/batches.h"

#include <torch/torch.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/training/random_streams.h"

namespace ditmoe::training {
namespace {

std::string key_of(const std::string& table, const std::string& key) {
  const bool is_model = key == "image_size" || key == "channels" || key == "num_classes";
  return (is_model ? "model" : table) + "." + key;
}

}  // namespace

Batches::Batches(const Recipe& recipe,
                 const data::TrainingStream& stream,
                 const TrainingObjective& objective)
    : recipe_(recipe), stream_(stream), objective_(objective) {}

void Batches::fill(int64_t first, int64_t count, Batch& batch) const {
  const int64_t elements = stream_.image_elements();
  const auto shape = {count, stream_.channels(), stream_.height(), stream_.width()};
  if (!batch.x_start.defined() || batch.x_start.sizes() != at::IntArrayRef(shape)) {
    batch.x_start = at::empty(shape, at::kFloat);
    batch.noise = at::empty(shape, at::kFloat);
    batch.y = at::empty({count}, at::kLong);
  }
  batch.samples.clear();
  at::Tensor uniform = at::empty({count}, at::kFloat);
  at::Tensor normal = at::empty({count}, at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const auto key = [&](uint32_t purpose) {
      return base::RandomKey{recipe_.seed, static_cast<uint64_t>(first + i), purpose};
    };
    const auto image = [&](at::Tensor& images) {
      return std::span<float>(images.data_ptr<float>() + i * elements,
                              static_cast<size_t>(elements));
    };
    const data::Sample sample = stream_.read(first + i, image(batch.x_start));
    batch.samples.push_back(sample);
    base::fill_normal(image(batch.noise), key(stream::kNoise));
    base::fill_uniform({uniform.data_ptr<float>() + i, 1}, key(stream::kTime));
    base::fill_normal({normal.data_ptr<float>() + i, 1}, key(stream::kTime));
    float drop = 0;
    base::fill_uniform({&drop, 1}, key(stream::kLabelDrop));
    const bool dropped = static_cast<double>(drop) < recipe_.label_dropout;
    batch.y.data_ptr<int64_t>()[i] = dropped ? recipe_.model.num_classes : sample.label;
  }
  batch.t = objective_.draw_times(uniform, normal);
}

data::TrainingStream open_data(const Recipe& recipe) {
  return data::open_training_stream(
      recipe.data, recipe.seed, [&](size_t part, const std::string& key) {
        return key_of(recipe.data_keys[part], key);
      });
}

data::TrainingStream open_held_out(const Recipe& recipe) {
  return data::open_training_stream(
      {&*recipe.held_out, 1}, recipe.seed, [](size_t, const std::string& key) {
        return key_of("held_out", key);
      });
}

}  // namespace ditmoe::training
