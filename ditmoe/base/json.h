#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "ditmoe/base/function_ref.h"

namespace ditmoe::base {

// Keeps keys in the order they were written.
using Json = nlohmann::ordered_json;

// Parses untrusted text strictly: no comments, no duplicate keys, nesting at most max_depth, no
// string or number of more than 4 MiB. Takes at most 64 MiB beyond the text's own size: a document
// that would need more is refused.
// source names the text in messages ("model.safetensors: header").
// Throws bad_input with the byte offset of the fault.
Json parse_json(std::string_view text, const std::string& source, int max_depth = 32);

// The same for an object that may have more members than a document can: visit gets them one after
// another, and no two are in memory at once. The caller finds keys that occur twice; within each
// member they are refused. Throws bad_input for text that is no object, and what visit throws.
void parse_json_members(std::string_view text,
                        const std::string& source,
                        FunctionRef<void(const std::string& key, Json value)> visit,
                        int max_depth = 32);

}  // namespace ditmoe::base
