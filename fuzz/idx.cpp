#include "ditmoe/formats/idx.h"

#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  fuzz::accepted([&] { formats::read_idx(fuzz::bytes_of(data, size), fuzz::kPath); });
  return 0;
}
