#pragma once

#include <memory>
#include <string>

#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::formats {

// The tensors of several safetensors files, by the index that names each one's file: a JSON object
// with "weight_map", {"tensor": "file"}, the files standing beside it
// (huggingface.co/docs/safetensors). Entries' offsets are those in their own files; the metadata
// are the files' together. Throws bad_input naming the index and the tensor or file at fault:
// a name with a folder in it, a missing file, a tensor that index and files do not agree about, or
// metadata in which the files contradict one another.
std::shared_ptr<const TensorFile> open_sharded_safetensors(const std::string& index_path);

}  // namespace ditmoe::formats
