#include "ditmoe/formats/npy.h"

#include "ditmoe/formats/npz.h"

#include "target.h"
#include "zip_bytes.h"

// The input is the one array of an archive, whose checksum is right. The first byte decides how the
// archive stores it.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  if (size == 0) return 0;
  const std::string content(fuzz::text_of(data + 1, size - 1));
  const std::string zip = formats::test::zip_of({{.name = "a.npy",
                                                  .content = content,
                                                  .deflated = (data[0] & 1) != 0,
                                                  .zip64 = (data[0] & 2) != 0}});
  const auto bytes = std::as_bytes(std::span(zip));
  fuzz::accepted([&] {
    for (const auto& [name, tensor] : formats::read_npz(bytes, fuzz::kPath)) {
      const formats::NpyHeader header = {tensor.dtype(), tensor.shape()};
      const std::string head = formats::npy_head(header, fuzz::kPath);
      const auto again =
          formats::parse_npy_header(head.substr(formats::kNpyPrefixBytes), fuzz::kPath);
      if (again.dtype != header.dtype || again.shape != header.shape) fuzz::finding("changed");
    }
  });
  return 0;
}
