#include "ditmoe/formats/jpeg.h"

#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  fuzz::accepted([&] {
    const formats::Image image = formats::read_jpeg_rgb(fuzz::bytes_of(data, size), fuzz::kPath);
    const auto expected = static_cast<size_t>(image.width * image.height * 3);
    if (image.channels != 3 || image.pixels_HWC.size() != expected) {
      fuzz::finding("pixels are missing");
    }
  });
  return 0;
}
