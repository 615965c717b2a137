#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "ditmoe/base/tensor.h"
#include "ditmoe/formats/pickle.h"
#include "ditmoe/formats/torch_archive.h"

namespace ditmoe::formats {

// A tensor of a PyTorch checkpoint: elements of a storage, which others may share, at any strides.
struct TorchTensor {
  base::DType dtype = base::DType::kF32;
  base::Shape shape;
  base::Shape strides;              // in elements, none negative
  const std::byte* data = nullptr;  // its first element
  uint64_t bytes = 0;               // of its elements, each as often as it occurs
  bool is_contiguous = true;        // row-major from data on
};

// Whether a pickled value stands for a tensor: what PyTorch's own functions make.
bool is_torch_tensor(const PickleValue& value);

// Bytes of an element of each storage that the pickle refers to, by the storage's name; those of
// types that PyTorch has not are left out.
std::map<std::string_view, size_t> torch_storage_widths(const Pickle& pickle);

// The tensor that value, one of archive.pickle, stands for: a plain one or a Parameter, of types
// float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8 and bool. Throws bad_input
// "<path>: tensor <name>: <pickle_name> byte N: ..." for anything that such a tensor is not made
// of, and for elements outside of its storage.
TorchTensor read_torch_tensor(const PickleValue& value,
                              const std::string& name,
                              const TorchArchive& archive);

// Copies the elements, row-major, to dst.
void gather(const TorchTensor& tensor, std::byte* dst);

}  // namespace ditmoe::formats
