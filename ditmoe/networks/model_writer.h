#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ditmoe/base/dtype.h"
#include "ditmoe/formats/safetensors_folder.h"
#include "ditmoe/networks/model_metadata.h"
#include "ditmoe/networks/weight_source.h"

namespace ditmoe::networks {

// How a block's attention is spelled.
enum class AttentionNames {
  kQkv,   // attn.qkv and attn.proj: DiT, DiT-MoE's S and B models, and canonical here
  kWqkv,  // attn.Wqkv and attn.out_proj: DiT-MoE's XL and G models
};

// "qkv", "wqkv"; bad_input naming what, the words allowed and what was found.
AttentionNames attention_names_from(std::string_view word, const std::string& what);

struct WriteOptions {
  std::optional<base::DType> dtype;  // of all tensors; each keeps its own where absent
  AttentionNames names = AttentionNames::kQkv;
  uint64_t shard_bytes = formats::kShardBytes;
};

// Whether write_model takes path for a file rather than a folder: it ends in ".safetensors".
bool names_a_file(const std::string& path);

// Writes a network with its metadata as safetensors: one file, or a new folder as
// formats::SafetensorsFolderWriter with the stem "model". Tensors pass through memory in pieces.
// Appears whole or not at all. Throws what weights does, failure on an I/O error, and bad_input
// naming path and tensor for a finite value that options.dtype rounds to infinity.
void write_model(const std::string& path,
                 const WeightSource& weights,
                 const Metadata& metadata,
                 const WriteOptions& options = {});

// Throws bad_input, naming source, unless config is a network that a DiTTransformer2DModel of
// huggingface/diffusers computes: a DiT with a GELU MLP, without normalised queries and keys.
void expect_diffusers_dit(const DitConfig& config, const std::string& source);

// Writes such a network as diffusers has it, into a new folder: config.json and safetensors with
// the stem "diffusion_pytorch_model", whose metadata are ours as well. These have no position
// embedding: bad_input, naming source, where the network's is not the one that is computed
// instead. Throws as write_model besides. options.names does not matter.
void write_diffusers_dit(const std::string& folder,
                         const WeightSource& weights,
                         const Metadata& metadata,
                         const std::string& source,
                         const WriteOptions& options = {});

}  // namespace ditmoe::networks
