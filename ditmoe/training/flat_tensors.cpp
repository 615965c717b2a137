#include "ditmoe/training/flat_tensors.h"

#include <cstring>
#include <utility>

#include <torch/torch.h>

#include "ditmoe/base/error.h"

namespace ditmoe::training {

FlatLayout::FlatLayout(std::vector<networks::TensorSpec> specs) : specs_(std::move(specs)) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const bool added = index_.emplace(specs_[i].name, i).second;
    DITMOE_ASSERT(added);
    offsets_.push_back(size_);
    size_ += base::num_elements(specs_[i].shape);
  }
}

at::Tensor FlatLayout::view(const at::Tensor& flat, size_t index) const {
  const base::Shape& shape = specs_[index].shape;
  return flat.narrow(0, offsets_[index], base::num_elements(shape)).view(shape);
}

size_t FlatLayout::index_of(const std::string& name) const {
  const auto found = index_.find(name);
  DITMOE_ASSERT(found != index_.end());
  return found->second;
}

formats::NamedTensors FlatLayout::named(const at::Tensor& flat, const std::string& prefix) const {
  DITMOE_ASSERT(flat.is_contiguous() && flat.numel() == size_);
  const float* data = flat.data_ptr<float>();
  formats::NamedTensors tensors;
  for (size_t i = 0; i < specs_.size(); ++i) {
    const auto* bytes = reinterpret_cast<const std::byte*>(data + offsets_[i]);
    tensors.emplace_back(prefix + specs_[i].name,
                         base::TensorView{base::DType::kF32, specs_[i].shape, bytes});
  }
  return tensors;
}

void FlatLayout::read(const formats::SafetensorsFile& file,
                      const std::string& prefix,
                      const at::Tensor& flat) const {
  DITMOE_ASSERT(flat.is_contiguous() && flat.numel() == size_);
  for (size_t i = 0; i < specs_.size(); ++i) {
    const base::TensorView tensor = file.view(prefix + specs_[i].name);
    if (tensor.dtype != base::DType::kF32 || tensor.shape != specs_[i].shape) {
      base::bad_input("{}: tensor {}{}: expected F32 {}, found {} {}",
                      file.path(),
                      prefix,
                      specs_[i].name,
                      base::to_string(specs_[i].shape),
                      base::name_of(tensor.dtype),
                      base::to_string(tensor.shape));
    }
    std::memcpy(flat.data_ptr<float>() + offsets_[i], tensor.data, tensor.bytes());
  }
  file.expect_whole();
}

Leaves::Leaves(const FlatLayout& layout, const at::Tensor& values, bool with_gradients)
    : layout_(layout) {
  DITMOE_ASSERT(values.is_contiguous() && values.numel() == layout.size());
  if (with_gradients) gradients_ = at::zeros({layout.size()}, at::kFloat);
  for (size_t i = 0; i < layout.specs().size(); ++i) {
    at::Tensor tensor = layout.view(values, i).detach();
    if (with_gradients) {
      tensor.requires_grad_(true);
      tensor.mutable_grad() = layout.view(gradients_, i);
    }
    tensors_.push_back(std::move(tensor));
  }
}

const at::Tensor& Leaves::operator[](const std::string& name) const {
  return tensors_[layout_.index_of(name)];
}

}  // namespace ditmoe::training
