#pragma once

#include <map>
#include <string>
#include <vector>

#include "ditmoe/base/function_ref.h"
#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// A tensor as a file has it.
struct NamedShape {
  std::string name_in_file;
  base::Shape shape;
};

// The tensors of a file by canonical name.
using ShapeTable = std::map<std::string, NamedShape>;

// The canonical spelling of a tensor's name: attn.Wqkv and attn.out_proj, as checkpoints with
// qk-norm have them, become attn.qkv and attn.proj; the prefixes module., _orig_mod.
// and model. go.
std::string canonical_name(std::string name_in_file);

// The other spelling of attention, of a canonical name: attn.Wqkv and attn.out_proj.
std::string wqkv_name(std::string canonical_name);

// Throws bad_input naming source and tensor unless its elements are F64, F32, F16 or BF16.
void expect_floats(const formats::TensorEntry& entry, const std::string& source);

// Throws bad_input naming source and tensor unless the table holds exactly the tensors of specs, of
// shapes for which fits(found, expected) holds. owner says of what they are: "network".
void expect_tensors(const ShapeTable& table,
                    std::vector<TensorSpec> specs,
                    base::FunctionRef<bool(const base::Shape&, const base::Shape&)> fits,
                    const std::string& source,
                    const char* owner);

// The same for the tensors of the network that config, which must be valid, describes.
void check_tensors(const DitConfig& config, const ShapeTable& table, const std::string& source);

}  // namespace ditmoe::networks
