#include "ditmoe/data/latent_dataset.h"

#include <algorithm>
#include <utility>

#include "ditmoe/base/error.h"

namespace ditmoe::data {
namespace {

using base::bad_input;

void expect_tensor(const formats::SafetensorsFile& file,
                   const std::string& name,
                   base::DType dtype,
                   const base::Shape& shape) {
  const formats::SafetensorsEntry& entry = file.entry(name);
  if (entry.dtype == dtype && entry.shape == shape) return;
  bad_input("{}: tensor {}: expected {} {}, found {} {}",
            file.path(),
            name,
            base::name_of(dtype),
            base::to_string(shape),
            base::name_of(entry.dtype),
            base::to_string(entry.shape));
}

// A copy, because data in files may be unaligned.
template <typename T>
std::vector<T> values_of(const formats::SafetensorsFile& file, const std::string& name) {
  const base::TensorView view = file.view(name);
  std::vector<T> values(static_cast<size_t>(view.size()));
  base::convert_into(view, base::DTypeOf<T>::value, reinterpret_cast<std::byte*>(values.data()));
  return values;
}

// Item `row` of a tensor [N, C, h, w] as f32.
void read_row(const formats::SafetensorsFile& file,
              const std::string& name,
              int64_t row,
              std::span<float> out) {
  base::TensorView view = file.view(name);
  view.shape.erase(view.shape.begin());
  view.data += static_cast<size_t>(row) * view.bytes();
  base::convert_into(view, base::DType::kF32, reinterpret_cast<std::byte*>(out.data()));
}

}  // namespace

std::unique_ptr<LatentDataset> LatentDataset::open(const std::string& folder, uint64_t seed) {
  std::optional<LatentIndex> index = read_latent_index(folder);
  if (!index) bad_input("{}: expected a latent cache, found no index.json", folder);
  if (!index->complete()) {
    bad_input("{}: {} of {} images are encoded; run the same encode again to finish it",
              folder,
              index->done(),
              index->settings.num_images);
  }
  if (index->count() == 0) {
    bad_input("{}: expected latents, found none: all {} images were corrupt",
              folder,
              index->settings.num_images);
  }
  return std::unique_ptr<LatentDataset>(new LatentDataset(folder, std::move(*index), seed));
}

LatentDataset::LatentDataset(std::string folder, LatentIndex index, uint64_t seed)
    : folder_(std::move(folder)), index_(std::move(index)), seed_(seed) {
  for (size_t i = 0; i < index_.shards.size(); ++i) open_shard(i);
}

void LatentDataset::open_shard(size_t number) {
  const LatentShard& expected = index_.shards[number];
  const auto file = formats::SafetensorsFile::open(shard_path(folder_, number));
  const base::Shape shape = {expected.count, channels(), height(), width()};
  for (const char* suffix : {"", "_flip"}) {
    if (*suffix != '\0' && !settings().flip) continue;
    for (const char* name : {"mean", "logvar", "sample"}) {
      const bool stored = (name == std::string_view("sample")) != settings().moments;
      if (stored) expect_tensor(file, std::string(name) + suffix, settings().dtype, shape);
    }
  }
  expect_tensor(file, "label", base::DType::kI32, {expected.count});
  expect_tensor(file, "index", base::DType::kI64, {expected.count});
  Shard shard{file, count_, values_of<int32_t>(file, "label"), values_of<int64_t>(file, "index")};
  file.expect_whole();
  const int64_t num_labels = std::max<int64_t>(num_classes(), 1);
  int64_t previous = expected.first - 1;
  for (size_t i = 0; i < shard.labels.size(); ++i) {
    if (shard.labels[i] < 0 || shard.labels[i] >= num_labels) {
      bad_input("{}: label {}: expected one below {}, found {}",
                file.path(),
                i,
                num_labels,
                shard.labels[i]);
    }
    if (shard.images[i] <= previous || shard.images[i] >= expected.last) {
      bad_input("{}: index {}: expected one above {} and below {}, found {}",
                file.path(),
                i,
                previous,
                expected.last,
                shard.images[i]);
    }
    previous = shard.images[i];
  }
  count_ += expected.count;
  shards_.push_back(std::move(shard));
}

const LatentDataset::Shard& LatentDataset::shard_of(int64_t image) const {
  DITMOE_ASSERT(image >= 0 && image < count_);
  const auto after = std::upper_bound(
      shards_.begin(), shards_.end(), image, [](int64_t wanted, const Shard& shard) {
        return wanted < shard.begin;
      });
  return *std::prev(after);
}

int32_t LatentDataset::label(int64_t index) const {
  DITMOE_ASSERT(index >= 0 && index < size());
  const int64_t image = index % count_;
  const Shard& shard = shard_of(image);
  return shard.labels[static_cast<size_t>(image - shard.begin)];
}

void LatentDataset::draw(int64_t index, uint64_t draw, std::span<float> out_CHW) const {
  DITMOE_ASSERT(index >= 0 && index < size());
  DITMOE_ASSERT(out_CHW.size() == static_cast<size_t>(image_elements()));
  const bool flipped = index >= count_;
  const Shard& shard = shard_of(index % count_);
  const int64_t row = index % count_ - shard.begin;
  const std::string suffix = flipped ? "_flip" : "";
  if (settings().moments) {
    std::vector<float> mean(out_CHW.size());
    std::vector<float> logvar(out_CHW.size());
    read_row(shard.file, "mean" + suffix, row, mean);
    read_row(shard.file, "logvar" + suffix, row, logvar);
    shard.file.expect_whole();
    const int64_t image = shard.images[static_cast<size_t>(row)];
    sample_latent(mean, logvar, latent_key(seed_, draw, image, flipped), out_CHW);
  } else {
    read_row(shard.file, "sample" + suffix, row, out_CHW);
    shard.file.expect_whole();
  }
  const auto scale = static_cast<float>(settings().scale);
  const auto shift = static_cast<float>(settings().shift);
  for (float& value : out_CHW) value = (value - shift) * scale;
}

bool LatentDataset::try_read(int64_t index,
                             const Variant& variant,
                             std::span<float> out_CHW) const {
  DITMOE_ASSERT(index < count_ && (settings().flip || !variant.mirrored));
  draw(variant.mirrored ? count_ + index : index, variant.draw, out_CHW);
  return true;
}

void LatentDataset::verify() const {
  for (size_t i = 0; i < index_.shards.size(); ++i) {
    expect_intact(shard_path(folder_, i), index_.shards[i].checksum);
  }
}

}  // namespace ditmoe::data
