#include "ditmoe/formats/torch_file.h"
#include "ditmoe/formats/torch_legacy.h"

#include "target.h"

namespace {

constexpr size_t kMaxExtraBytes = size_t{64} << 20;
constexpr size_t kLargest = size_t{1} << 16;  // of the tensors that are looked at: others take long

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
  const auto bytes = fuzz::bytes_of(data, size);
  fuzz::accepted([&] {
    const auto archive = formats::is_torch_legacy(bytes)
                             ? formats::read_torch_legacy(fuzz::kPath, bytes)
                             : formats::read_torch_archive(fuzz::kPath, bytes);
    const auto file = formats::open_torch_file(archive, {}, {});
    size_t scattered = 0;
    volatile unsigned sum = 0;
    for (const formats::TensorEntry& entry : file->entries()) {
      if (entry.offset == 0) scattered += entry.bytes;
      if (entry.offset > size) fuzz::finding("a tensor beyond the file");
      if (entry.bytes > kLargest) continue;
      if (file->view(entry.name).bytes() != entry.bytes) fuzz::finding("sizes differ");
      sum = sum + sum_of(file->view(entry.name));
    }
    if (scattered > size + kMaxExtraBytes) fuzz::finding("more memory than the file is worth");
  });
  return 0;
}
