#include "ditmoe/training/parameters.h"

#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/philox.h"
#include "ditmoe/kernels/position_embedding.h"
#include "ditmoe/training/random_streams.h"

namespace ditmoe::training {
namespace {

bool ends_with(const std::string& name, const std::string& suffix) {
  return name.size() >= suffix.size() &&
         name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
}

bool contains(const std::string& name, const std::string& part) {
  return name.find(part) != std::string::npos;
}

base::TensorView view_of(const float* data, const base::Shape& shape) {
  return {base::DType::kF32, shape, reinterpret_cast<const std::byte*>(data)};
}

void copy_weight(const networks::ModelFile& model, const std::string& name, const at::Tensor& out) {
  base::Tensor weight = base::convert(model.weight(name), base::DType::kF32);
  DITMOE_ASSERT(weight.size() == out.numel());
  out.copy_(at::from_blob(weight.data(), out.sizes(), at::kFloat));
}

// Uniform in [-bound, bound).
void fill_symmetric(at::Tensor& tensor, double bound, const base::RandomKey& key) {
  const std::span<float> out(tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel()));
  base::fill_uniform(out, key);
  for (float& value : out) value = static_cast<float>(bound * (2.0 * value - 1.0));
}

void initialise_tensor(at::Tensor& tensor, const std::string& name, const base::RandomKey& key) {
  const bool is_norm = contains(name, "_norm.");
  if (is_norm) {
    tensor.fill_(ends_with(name, ".weight") ? 1.0 : 0.0);
    return;
  }
  // Of a Switch-DiT, which begins as the DiT it would be without.
  const bool is_time_expert = ends_with(name, ".experts.w") || ends_with(name, ".experts.b");
  if (ends_with(name, "bias") || is_time_expert || contains(name, "adaLN_modulation") ||
      contains(name, "final_layer")) {
    tensor.zero_();
    return;
  }
  if (contains(name, "y_embedder") || contains(name, "t_embedder")) {
    base::fill_normal({tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())}, key);
    tensor.mul_(0.02);
    return;
  }
  const auto fan_out = static_cast<double>(tensor.size(0));
  const double fan_in = static_cast<double>(tensor.numel()) / fan_out;
  // Kaiming with a = √5 is U(±1/√fan_in).
  const bool is_router = ends_with(name, "moe.gate.weight");
  const double bound = is_router ? 1.0 / std::sqrt(fan_in) : std::sqrt(6.0 / (fan_in + fan_out));
  fill_symmetric(tensor, bound, key);
}

}  // namespace

ParameterSet::ParameterSet(const networks::DitConfig& config) : ParameterSet(config, at::kCPU) {
  gradients_ = at::zeros_like(values_);
  int64_t offset = 0;
  for (at::Tensor& tensor : tensors_) {
    tensor.requires_grad_(true);
    tensor.mutable_grad() = gradients_.narrow(0, offset, tensor.numel()).view_as(tensor);
    offset += tensor.numel();
  }
}

ParameterSet::ParameterSet(const networks::DitConfig& config, at::Device device) {
  int64_t total = 0;
  for (networks::TensorSpec& spec : networks::tensor_specs(config)) {
    if (spec.name == "pos_embed") continue;
    total += base::num_elements(spec.shape);
    specs_.push_back(std::move(spec));
  }
  values_ = at::zeros({total}, at::device(device).dtype(at::kFloat));
  const at::Tensor positions_TD = at::empty({config.tokens(), config.width}, at::kFloat);
  kernels::sincos_position_embedding(
      config.grid(),
      config.width,
      {positions_TD.data_ptr<float>(), static_cast<size_t>(positions_TD.numel())});
  pos_embed_ = positions_TD.to(device);
  int64_t offset = 0;
  for (const networks::TensorSpec& spec : specs_) {
    const int64_t size = base::num_elements(spec.shape);
    tensors_.push_back(values_.narrow(0, offset, size).view(spec.shape).detach());
    offset += size;
  }
}

const at::Tensor& ParameterSet::operator[](const std::string& name) const {
  const auto spec = std::find_if(
      specs_.begin(), specs_.end(), [&](const auto& candidate) { return candidate.name == name; });
  DITMOE_ASSERT(spec != specs_.end());
  return tensors_[static_cast<size_t>(spec - specs_.begin())];
}

at::Tensor ParameterSet::joined(const std::string& prefix, at::IntArrayRef shape) const {
  int64_t first = 0;
  int64_t size = 0;
  int64_t offset = 0;
  for (const networks::TensorSpec& spec : specs_) {
    const int64_t count = base::num_elements(spec.shape);
    if (spec.name.starts_with(prefix)) {
      DITMOE_ASSERT(size == 0 || offset == first + size);
      if (size == 0) first = offset;
      size += count;
    }
    offset += count;
  }
  DITMOE_ASSERT(size > 0);
  at::Tensor leaf = values_.narrow(0, first, size).view(shape).detach();
  if (!gradients_.defined()) return leaf;
  leaf.requires_grad_(true);
  leaf.mutable_grad() = gradients_.narrow(0, first, size).view_as(leaf);
  return leaf;
}

void ParameterSet::keep_half() {
  half_ = at::empty(values_.sizes(), at::kBFloat16);
  refresh_half();
}

void ParameterSet::refresh_half() {
  if (half_.defined()) half_.copy_(values_);
}

formats::NamedTensors ParameterSet::named(const at::Tensor& flat, bool with_pos_embed) const {
  DITMOE_ASSERT(flat.is_contiguous() && flat.numel() == values_.numel());
  formats::NamedTensors tensors;
  if (with_pos_embed) {
    const base::Shape shape = {1, pos_embed_.size(0), pos_embed_.size(1)};
    tensors.emplace_back("pos_embed", view_of(pos_embed_.data_ptr<float>(), shape));
  }
  const float* data = flat.data_ptr<float>();
  for (const networks::TensorSpec& spec : specs_) {
    tensors.emplace_back(spec.name, view_of(data, spec.shape));
    data += base::num_elements(spec.shape);
  }
  return tensors;
}

void initialise(ParameterSet& parameters, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    at::Tensor tensor = parameters.tensors()[i];
    initialise_tensor(tensor, parameters.specs()[i].name, {seed, i, stream::kInitialise});
  }
}

void load_weights(ParameterSet& parameters, const networks::ModelFile& model) {
  if (model.packed()) {
    base::bad_input("{}: is packed, in {}; give the file it was made from",
                    model.path(),
                    kernels::to_word(*model.packed()));
  }
  const torch::NoGradGuard no_grad;
  copy_weight(model, "pos_embed", parameters.pos_embed());
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    copy_weight(model, parameters.specs()[i].name, parameters.tensors()[i]);
  }
}

}  // namespace ditmoe::training
