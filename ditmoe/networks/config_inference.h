#pragma once

#include <map>
#include <string>

#include "ditmoe/networks/model_file.h"
#include "ditmoe/networks/shape_table.h"

namespace ditmoe::networks {

// The architecture that tensors of a file without configuration tell, as ModelFile::open describes
// it. arguments: what the file says besides (formats::TensorFile::metadata), asked only for what
// neither overrides nor shapes tell. What the shapes do not pin down is consistent
// but unchecked: check_tensors has the last word. Throws bad_input naming source and tensor where a
// needed tensor is missing or makes no sense, and naming the flag for what cannot be told.
DitConfig infer_config(const ShapeTable& table,
                       const ModelOverrides& overrides,
                       const std::map<std::string, std::string>& arguments,
                       const std::string& source);

}  // namespace ditmoe::networks
