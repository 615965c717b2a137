#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/kernels/precision.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// How a model is best sampled; travels in our files under "ditmoe.sampling" as JSON.
struct SamplingDefaults {
  std::string sampler;  // a name that diffusion::make_sampler knows
  int64_t steps = 0;
  double cfg = 1.0;          // guidance scale; 1 is none
  std::string cfg_channels;  // "3" or "all"
};

// ddpm with 250 steps and guidance on 3 channels; euler with 50 steps and all channels for
// rectified flow. Guidance scale 1.
SamplingDefaults default_sampling(Objective objective);

// What a file cannot tell, given by the user; each wins over what the file says.
struct ModelOverrides {
  std::optional<int64_t> heads;
  std::optional<int64_t> top_k;
  std::optional<Objective> objective;
  std::optional<formats::WeightSet> weights;  // of a training checkpoint; the EMA where absent
};

// A network's configuration and weights, mapped from a file of any format. Weights are found by
// canonical name, whatever spelling the file has (attn.Wqkv/out_proj or attn.qkv/proj).
class ModelFile {
 public:
  // Opens what formats::TensorFile does, and folders of diffusers pipelines. Without our metadata
  // everything but heads, top-k and objective follows from the shapes. Unless overridden, heads
  // come from qk-norm's head size, a diffusers configuration or the preset of the same depth and
  // width, top-k is what dense blocks beside the MoE ones imply or a Switch-DiT's prior says
  // (switch_prior.h), else what a PyTorch checkpoint's training arguments say
  // (num_experts_per_tok), else 2 (1 for one expert), and the objective is rectified flow where
  // those say so (rf), else DDPM where learn_sigma, else unknown. Reads headers, and a row of that
  // prior. An objective other than the metadata's is used, with a warning. Throws bad_input for
  // heads or top-k that contradict the metadata, naming file and tensor for a missing, misshapen or
  // unknown tensor, and naming the flag for what cannot be told.
  static ModelFile open(const std::string& path, const ModelOverrides& overrides = {});

  const std::string& path() const;
  const DitConfig& config() const;

  // The weight named canonically (one of tensor_specs(config())), in the file's element type;
  // foreign files may hold it unaligned. The view lives as long as this object and its copies.
  base::TensorView weight(const std::string& canonical_name) const;

  // The tensor's name in the file, for a canonical name.
  const std::string& name_in_file(const std::string& canonical_name) const;

  // The precision of a packed file (packed_file.h), whose matrices weight() does not find; nullopt
  // for any other.
  std::optional<kernels::Precision> packed() const;

  // The file itself.
  const std::shared_ptr<const formats::TensorFile>& file() const;

  // Element type of the largest part of the weights.
  base::DType dtype() const;

  // From "ditmoe.class_names"; empty where the file has none.
  const std::vector<std::string>& class_names() const;

  // From "ditmoe.sampling"; where absent, or written for another objective than the overridden one:
  // default_sampling(config().objective).
  const SamplingDefaults& sampling() const;

  // TensorFile::metadata of the file.
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

// Writes a model in our own format: weights in canonical order, converted to dtype, and all that
// ModelFile::open reads back in the metadata. tensors: exactly those of tensor_specs(config), by
// canonical name, in any order. class_names: one a class, or none. Appears whole or not at all.
// Throws bad_input where tensors and config do not fit, failure where writing fails.
void save_model(const std::string& path,
                const DitConfig& config,
                const formats::NamedTensors& tensors,
                const std::vector<std::string>& class_names,
                const SamplingDefaults& sampling,
                base::DType dtype);

}  // namespace ditmoe::networks
