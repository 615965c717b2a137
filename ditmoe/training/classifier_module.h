#pragma once

#include <cstdint>
#include <vector>

#include <torch/types.h>

#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/classifier.h"

namespace ditmoe::training {

// The function of networks::Classifier, differentiable.
class ClassifierModule {
 public:
  // Weights Kaiming-uniform for ReLU, biases zero, drawn from the seed alone.
  ClassifierModule(const networks::ClassifierConfig& config, uint64_t seed);

  // images_NCHW [B, C, H, W] f32 in [-1, 1], fastest in channels-last memory → logits
  // [B, num_classes].
  at::Tensor logits(const at::Tensor& images_NCHW) const;

  // In the order of networks::tensor_specs.
  const std::vector<at::Tensor>& parameters() const { return parameters_; }

  // The weights under their names; the views live as long as this object.
  formats::NamedTensors named() const;

 private:
  std::vector<networks::TensorSpec> specs_;
  std::vector<at::Tensor> parameters_;
};

}  // namespace ditmoe::training
