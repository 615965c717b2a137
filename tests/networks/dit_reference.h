#pragma once

#include <string>
#include <vector>

#include "ditmoe/networks/model_file.h"

namespace ditmoe::networks {

// A network computed plainly from the scalar definitions in kernels/ref, one image at a time and
// every expert token by token: what the executor is compared with where no reference data exists.
class DitReference {
 public:
  explicit DitReference(const ModelFile& model) : model_(model), config_(model.config()) {}

  // Prediction [C_out, H, W] for one image [C, H, W].
  std::vector<float> predict(const float* image, float t, int32_t label) const;

 private:
  using Values = std::vector<float>;

  Values weight(const std::string& name) const;
  Values linear(const std::string& name, const Values& x, bool bias) const;
  Values swiglu(const std::string& name, const Values& x) const;
  Values time_embedding(float t) const;
  Values condition(float t, int32_t label) const;
  Values attention(const std::string& block, const Values& qkv) const;
  Values feed_forward(int64_t layer, const Values& x) const;
  Values routed(const std::string& name, const Values& x) const;
  Values modulated(const Values& x, const float* shift, const float* scale) const;
  Values time_mask(int64_t layer, float t, const Values& x) const;
  void run_masked_block(int64_t layer, float t, const Values& condition, Values& x) const;
  void run_block(int64_t layer, const Values& condition, Values& x) const;

  const ModelFile& model_;
  DitConfig config_;
};

}  // namespace ditmoe::networks
