#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/vae_config.h"

namespace ditmoe::networks {

// Where an autoencoder takes its weights from.
class VaeWeights {
 public:
  virtual ~VaeWeights() = default;

  virtual const VaeConfig& config() const = 0;

  // The weight named canonically, one of tensor_specs(config()), in F32 and in the shape given
  // there.
  virtual base::Tensor read(const std::string& name) const = 0;

  // What latents are multiplied by for a diffusion model to learn, after shift has been taken off:
  // 1/deviation of the latents. Stable Diffusion's, unless a configuration says otherwise.
  virtual double scaling_factor() const { return 0.18215; }

  virtual double shift() const { return 0.0; }

  // The file they stand in; none where they are made up.
  virtual std::shared_ptr<const formats::TensorFile> file() const { return nullptr; }
};

// What shapes of tensors do not tell.
struct VaeSettings {
  int64_t groups = 32;              // of every GroupNorm
  double scaling_factor = 0.18215;  // see VaeWeights
  double shift = 0.0;
};

// The settings as open_vae reads them from `__metadata__` of a safetensors file: under the key
// "ditmoe.autoencoder" an object with the keys of diffusers' config.json.
std::map<std::string, std::string> vae_metadata(const VaeSettings& settings);

// The weights of a file (safetensors or PyTorch's, see formats::TensorFile) or folder: names as
// CompVis' code has them, with or without the prefix first_stage_model. of whole checkpoints, or as
// diffusers does, in its older and newer spelling of attention; a folder of diffusers' with
// config.json, or a pipeline's that holds it as vae/. Settings are those of the file's metadata
// (vae_metadata), else those of config.json. Reads headers only. Throws bad_input naming file and
// tensor for what is missing, misshapen or unknown, and naming file and key for a configuration
// that cannot be.
std::shared_ptr<const VaeWeights> open_vae(const std::string& path);

// The same where path is an autoencoder, or a pipeline of diffusers' (model_index.json) around one
// that has no transformer; nullptr for any other whole file or folder.
std::shared_ptr<const VaeWeights> find_vae(const std::string& path);

// Random weights for measurements, such that maps keep their size.
std::shared_ptr<const VaeWeights> random_vae(const VaeConfig& config, uint64_t seed);

}  // namespace ditmoe::networks
