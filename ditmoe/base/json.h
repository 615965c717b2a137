#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ditmoe::base {

// Keeps keys in the order they were written.
using Json = nlohmann::ordered_json;

// Parses untrusted text strictly: no comments, no duplicate keys, nesting at most max_depth, at
// most 2^22 values.
// source names the text in messages ("model.safetensors: header").
// Throws bad_input with the byte offset of the fault.
Json parse_json(std::string_view text, const std::string& source, int max_depth = 32);

}  // namespace ditmoe::base
