#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include <torch/types.h>

#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::training {

// Where named tensors stand in one flat f32 buffer, one behind the other: weights, their average,
// gradients and moments are such buffers, which optimiser and files take as they are.
class FlatLayout {
 public:
  explicit FlatLayout(std::vector<networks::TensorSpec> specs);

  const std::vector<networks::TensorSpec>& specs() const { return specs_; }

  // Elements of a buffer.
  int64_t size() const { return size_; }

  // The tensor number `index` of a buffer, as a view.
  at::Tensor view(const at::Tensor& flat, size_t index) const;

  // Which tensor that is; its name must be among specs().
  size_t index_of(const std::string& name) const;

  // All tensors of a buffer, each named prefix + its name. The views live as long as the buffer.
  formats::NamedTensors named(const at::Tensor& flat, const std::string& prefix = "") const;

  // Fills a buffer from tensors named so. Throws bad_input naming file and tensor for what is
  // missing or not F32 of the shape.
  void read(const formats::SafetensorsFile& file,
            const std::string& prefix,
            const at::Tensor& flat) const;

 private:
  std::vector<networks::TensorSpec> specs_;
  std::vector<int64_t> offsets_;
  std::unordered_map<std::string, size_t> index_;
  int64_t size_ = 0;
};

// The tensors of a buffer as leaves, by name.
class Leaves {
 public:
  // layout must outlive the object; values is shared. Without gradients they are constants.
  Leaves(const FlatLayout& layout, const at::Tensor& values, bool with_gradients);

  const at::Tensor& operator[](const std::string& name) const;

  // Flat, zeros at first: where backward adds to. Undefined without gradients.
  const at::Tensor& gradients() const { return gradients_; }

 private:
  const FlatLayout& layout_;
  at::Tensor gradients_;
  std::vector<at::Tensor> tensors_;
};

}  // namespace ditmoe::training
