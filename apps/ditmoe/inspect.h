#pragma once

#include <string>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/tensor_file.h"

#include "apps/ditmoe/command.h"

// What the parts of `inspect` share.

namespace ditmoe::apps {

void print_line(const char* key, const std::string& value);

// Format, size and main element type of the weights.
void print_title(const std::string& path, const formats::TensorFile& file);

// Their number, or all of them with type and shape.
void print_tensors(const formats::TensorFile& file, bool list);

base::Json tensors_json(const formats::TensorFile& file);

// Shows an autoencoder or a classifier; false where the file is neither. Throws bad_input where
// options were given that only diffusion transformers know.
bool inspect_other(const std::string& path, bool is_overridden, bool list_tensors, bool as_json);

}  // namespace ditmoe::apps
