#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "ditmoe/formats/tensor_file.h"

namespace ditmoe::networks {

// What a Switch-DiT checkpoint holds besides its weights: `full_time` (the steps, counted) and
// `prior._unit_mapping` [1000, depth · E], which experts each step should use. The network itself
// needs neither, but the mapping tells how many experts an image takes: depth · K ones a row.

// Key for arguments of infer_config: K, in decimal.
inline constexpr const char* kPriorTopK = "switch_dit.top_k";

bool is_switch_dit(const formats::TensorFile& file);

// Whether the tensor of this canonical name is one of those two.
bool is_prior_buffer(std::string_view canonical_name);

// The file's metadata, and kPriorTopK where the file is a Switch-DiT with a mapping. Throws
// bad_input naming the tensor for a mapping that is none.
std::map<std::string, std::string> with_prior(const formats::TensorFile& file);

}  // namespace ditmoe::networks
