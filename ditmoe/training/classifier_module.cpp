#include "ditmoe/training/classifier_module.h"

#include <cmath>

#include <torch/torch.h>

#include "ditmoe/base/philox.h"
#include "ditmoe/training/random_streams.h"

namespace ditmoe::training {

ClassifierModule::ClassifierModule(const networks::ClassifierConfig& config, uint64_t seed)
    : specs_(networks::tensor_specs(config)) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    at::Tensor tensor = at::zeros(specs_[i].shape, at::kFloat);
    if (tensor.dim() > 1) {
      const std::span<float> values(tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel()));
      base::fill_uniform(values, {seed, i, stream::kInitialise});
      const auto fan_in = static_cast<double>(tensor[0].numel());
      tensor.mul_(2.0).sub_(1.0).mul_(std::sqrt(6.0 / fan_in));
    }
    parameters_.push_back(tensor.requires_grad_(true));
  }
}

at::Tensor ClassifierModule::logits(const at::Tensor& images_NCHW) const {
  at::Tensor x = images_NCHW;
  size_t next = 0;
  for (; parameters_[next].dim() == 4; next += 2) {
    x = at::conv2d(x, parameters_[next], parameters_[next + 1], /*stride=*/1, /*padding=*/1);
    x = at::relu(at::max_pool2d(x, 2));  // in this order ReLU has a quarter of the work
  }
  x = x.permute({0, 2, 3, 1}).flatten(1);
  x = at::relu(at::linear(x, parameters_[next], parameters_[next + 1]));
  return at::linear(x, parameters_[next + 2], parameters_[next + 3]);
}

formats::NamedTensors ClassifierModule::named() const {
  formats::NamedTensors tensors;
  for (size_t i = 0; i < specs_.size(); ++i) {
    const auto* data = reinterpret_cast<const std::byte*>(parameters_[i].data_ptr<float>());
    tensors.emplace_back(specs_[i].name,
                         base::TensorView{base::DType::kF32, specs_[i].shape, data});
  }
  return tensors;
}

}  // namespace ditmoe::training
