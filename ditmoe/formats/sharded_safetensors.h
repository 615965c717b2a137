#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::formats {

// Of the text of an index.
inline constexpr size_t kMaxIndexBytes = size_t{4} << 20;

// The tensors of several safetensors files, by the index that names each one's file: a JSON object
// with "weight_map", {"tensor": "file"}, the files standing beside it
// (huggingface.co/docs/safetensors). Entries' offsets are those in their own files; the metadata
// are the files' together. Throws bad_input naming the index and the tensor or file at fault:
// a name with a folder in it, a missing file, a tensor that index and files do not agree about, or
// metadata in which the files contradict one another.
std::shared_ptr<const TensorFile> open_sharded_safetensors(const std::string& index_path);

// The files that such an index names. Throws bad_input as open_sharded_safetensors.
std::vector<std::string> shards_of(const std::string& index_path);

}  // namespace ditmoe::formats
