#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// How a model is best sampled; travels in our files under "ditmoe.sampling" as JSON.
struct SamplingDefaults {
  std::string sampler;         // "ddpm", "ddim", "euler"
  int64_t steps = 0;
  double cfg = 1.0;            // guidance scale; 1 is none
  std::string cfg_channels;    // "3" or "all"
};

// What a file cannot tell, given by the user; each wins over what the file says.
struct ModelOverrides {
  std::optional<int64_t> heads;
  std::optional<int64_t> top_k;
  std::optional<Objective> objective;
};

// A network's configuration and weights, mapped from a file. Weights are found by canonical name,
// whatever spelling the file has (attn.Wqkv/out_proj or attn.qkv/proj).
class ModelFile {
 public:
  // Opens a safetensors file with our metadata, or without: then everything but heads, top-k and
  // objective follows from the shapes; heads come from qk-norm's head size or from the presets,
  // top-k is 2 and the objective DDPM where learn_sigma unless overridden. Reads the header only.
  // Throws bad_input naming file and tensor for a missing, misshapen or unknown tensor, and naming
  // the flag for what cannot be told.
  static ModelFile open(const std::string& path, const ModelOverrides& overrides = {});

  const std::string& path() const;
  const DitConfig& config() const;

  // The weight named canonically, in the file's element type. The view lives as long as this object
  // and its copies.
  base::TensorView weight(const std::string& canonical_name) const;

  // The tensor's name in the file, for a canonical name.
  const std::string& name_in_file(const std::string& canonical_name) const;

  // Element type of the largest part of the weights.
  base::DType dtype() const;

  // From "ditmoe.class_names"; empty where the file has none.
  const std::vector<std::string>& class_names() const;

  // From "ditmoe.sampling"; where absent: ddpm 250 steps (euler 50 for rectified flow), cfg 1,
  // channels "3" (all for rectified flow).
  const SamplingDefaults& sampling() const;

  // All of the file's __metadata__.
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

}  // namespace ditmoe::networks
