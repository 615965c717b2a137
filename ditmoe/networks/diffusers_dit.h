#pragma once

#include <memory>
#include <string>

#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::networks {

// Key of TensorFile::metadata for the attention heads that a diffusers configuration says.
inline constexpr const char* kDiffusersHeads = "diffusers.num_attention_heads";

// Where the transformer of a diffusers pipeline is: path/transformer where path is a folder with a
// model_index.json, else path itself.
std::string transformer_of_pipeline(const std::string& path);

// Whether the tensors are those of a DiTTransformer2DModel (Transformer2DModel in older releases)
// of huggingface/diffusers.
bool is_diffusers_dit(const formats::TensorFile& file);

// The same tensors under the names of facebookresearch/DiT. Queries, keys and values become one
// tensor, put together when first asked for; the position embedding, which such files lack, is
// computed; of the embeddings of time and label, stored once a block, the first is taken, and when
// it is asked for all must be equal. Throws bad_input where config.json beside the file is missing
// or does not say heads and size, and naming the tensor for one that is missing or misshapen.
std::shared_ptr<const formats::TensorFile> adapt_diffusers_dit(
    std::shared_ptr<const formats::TensorFile> file);

}  // namespace ditmoe::networks
