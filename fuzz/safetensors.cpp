#include "ditmoe/formats/safetensors.h"

#include "target.h"

namespace {

// Looks at every byte of a tensor.
unsigned sum_of(const ditmoe::base::TensorView& view) {
  unsigned sum = 0;
  for (const std::byte byte : std::span(view.data, view.bytes())) {
    sum += std::to_integer<unsigned>(byte);
  }
  return sum;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  fuzz::accepted([&] {
    const auto file = formats::SafetensorsFile::in_memory(fuzz::bytes_of(data, size), fuzz::kPath);
    size_t tensor_bytes = 0;
    volatile unsigned sum = 0;
    for (const formats::SafetensorsEntry& entry : file.entries()) {
      if (!file.contains(entry.name)) fuzz::finding("a tensor cannot be found");
      if (file.view(entry.name).bytes() != entry.bytes) fuzz::finding("sizes differ");
      sum = sum + sum_of(file.view(entry.name));
      tensor_bytes += entry.bytes;
    }
    if (tensor_bytes > size) fuzz::finding("more data than the file has");
  });
  return 0;
}
