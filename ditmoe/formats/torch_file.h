#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ditmoe/formats/file.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/formats/torch_archive.h"

namespace ditmoe::formats {

// The weights of what torch.save wrote, as find_torch_weights chooses them. Nothing in the
// file is executed (pickle.h). Tensors that are row-major are looked at in place; the others, views
// at other strides, must not add up to more than the file's size and 64 MiB. Throws bad_input.
//
// file: where the archive is mapped; empty for one in memory, which must outlive the result.
std::shared_ptr<const TensorFile> open_torch_file(const TorchArchive& archive,
                                                  const MappedFile& file,
                                                  std::optional<WeightSet> weights);

}  // namespace ditmoe::formats
