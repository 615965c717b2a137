#pragma once

#include <string>
#include <vector>

#include <torch/types.h>

#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::training {

// The trainable tensors of a network, by canonical name, as views of one flat buffer; their
// gradients as views of another. Optimiser, clipping and EMA then work on two long vectors.
class ParameterSet {
 public:
  // Zeros. Every tensor of tensor_specs(config) but pos_embed, which is fixed.
  explicit ParameterSet(const networks::DitConfig& config);

  // Likewise, on a device and without gradients: to predict with.
  ParameterSet(const networks::DitConfig& config, at::Device device);

  // The leaf tensor of a canonical name.
  const at::Tensor& operator[](const std::string& name) const;

  // The tensors whose names begin with prefix, which lie one after the other, as one leaf of that
  // shape; it shares values and gradients with theirs.
  at::Tensor joined(const std::string& prefix, at::IntArrayRef shape) const;

  // Keeps the values rounded to bfloat16 as well, for products that want them so. Whoever changes
  // the values calls refresh_half, or changes half() too.
  void keep_half();
  void refresh_half();

  // As values(), bfloat16; undefined without keep_half.
  const at::Tensor& half() const { return half_; }

  const std::vector<networks::TensorSpec>& specs() const { return specs_; }

  const std::vector<at::Tensor>& tensors() const { return tensors_; }

  at::Tensor& values() { return values_; }

  const at::Tensor& values() const { return values_; }

  // Undefined where there are none.
  at::Tensor& gradients() { return gradients_; }

  // The fixed position embedding [T, D]: part of a file, not trained.
  const at::Tensor& pos_embed() const { return pos_embed_; }

  // A buffer laid out as values() (weights, EMA, moments, gradients) as named tensors in file
  // order, pos_embed first where asked for. The views live as long as the buffer.
  formats::NamedTensors named(const at::Tensor& flat, bool with_pos_embed) const;

 private:
  std::vector<networks::TensorSpec> specs_;
  std::vector<at::Tensor> tensors_;
  at::Tensor values_;
  at::Tensor gradients_;
  at::Tensor half_;
  at::Tensor pos_embed_;
};

// The reference's initialisation, drawn from Philox: linear layers and the flattened patch
// embedding Xavier-uniform with zero bias, label table and timestep MLP N(0, 0.02), router
// Kaiming-uniform(a = √5), qk-norm identity, every adaLN and the final layer zero.
void initialise(ParameterSet& parameters, uint64_t seed);

// Copies the weights, and the position embedding, of a file with the same configuration.
void load_weights(ParameterSet& parameters, const networks::ModelFile& model);

}  // namespace ditmoe::training
