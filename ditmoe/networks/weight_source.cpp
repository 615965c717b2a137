#include "ditmoe/networks/weight_source.h"

#include <cmath>
#include <utility>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

// Number `index` of a stream in [-1, 1): the finalizer of SplitMix64 (Steele, Lea & Flood 2014) of
// a counter.
float uniform(uint64_t key, uint64_t index) {
  uint64_t z = key + (index + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<float>(static_cast<int32_t>(z >> 32)) * 0x1p-31f;
}

}  // namespace

base::Tensor WeightSource::floats(const std::string& name) const {
  base::Tensor values(base::DType::kF32, shape(name));
  read(name, 0, values.size(), base::DType::kF32, values.data());
  return values;
}

FileWeights::FileWeights(ModelFile model) : model_(std::move(model)) {
  for (TensorSpec& spec : tensor_specs(model_.config())) {
    shapes_.emplace(std::move(spec.name), std::move(spec.shape));
  }
}

base::DType FileWeights::dtype(const std::string& name) const {
  return stored_dtype(name) == base::DType::kBF16 ? base::DType::kBF16 : base::DType::kF32;
}

base::DType FileWeights::stored_dtype(const std::string& name) const {
  return model_.file()->entry(model_.name_in_file(name)).dtype;
}

const base::Shape& FileWeights::shape(const std::string& name) const { return shapes_.at(name); }

void FileWeights::read(const std::string& name,
                       int64_t first,
                       int64_t count,
                       base::DType dtype,
                       std::byte* dst) const {
  const base::TensorView weight = model_.weight(name);
  DITMOE_ASSERT(first >= 0 && count >= 0 && first + count <= weight.size());
  if (count == 0) return;
  const base::TensorView part = {
      weight.dtype,
      {count},
      weight.data + static_cast<size_t>(first) * base::size_of(weight.dtype)};
  base::convert_into(part, dtype, dst);
  model_.file()->expect_whole();
  model_.file()->release({part.data, part.bytes()});
}

RandomWeights::RandomWeights(const DitConfig& config, uint64_t seed) : config_(config) {
  config.validate();
  uint64_t index = 0;
  for (TensorSpec& spec : tensor_specs(config)) {
    Entry entry;
    const int64_t inputs = base::num_elements(spec.shape) / spec.shape.front();
    const bool is_vector = spec.shape.size() == 1;
    const double deviation = is_vector ? 0.02 : 1.0 / std::sqrt(static_cast<double>(inputs));
    entry.amplitude = static_cast<float>(deviation * std::sqrt(3.0));
    entry.key = (seed + 1) * 0xd1342543de82ef95 + (index++ << 40);
    entry.shape = std::move(spec.shape);
    entries_.emplace(std::move(spec.name), std::move(entry));
  }
}

const base::Shape& RandomWeights::shape(const std::string& name) const {
  return entries_.at(name).shape;
}

void RandomWeights::read(const std::string& name,
                         int64_t first,
                         int64_t count,
                         base::DType dtype,
                         std::byte* dst) const {
  const Entry& entry = entries_.at(name);
  if (count == 0) return;
  base::Tensor values(base::DType::kF32, {count});
  float* out =
      dtype == base::DType::kF32 ? reinterpret_cast<float*>(dst) : values.as<float>().data();
  for (int64_t i = 0; i < count; ++i) {
    out[i] = entry.amplitude * uniform(entry.key, static_cast<uint64_t>(first + i));
  }
  if (dtype == base::DType::kF32) return;
  base::convert_into(values.view(), dtype, dst);
}

}  // namespace ditmoe::networks
