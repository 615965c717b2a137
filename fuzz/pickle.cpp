#include "ditmoe/formats/pickle.h"

#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  fuzz::accepted([&] {
    const auto pickle = formats::Pickle::parse(fuzz::bytes_of(data, size), fuzz::kPath);
    if (pickle.size() > size) fuzz::finding("longer than the input");
    const formats::PickleValue root = pickle.root();
    if (root.describe().empty()) fuzz::finding("a value without a name");
    if (root.is(formats::PickleKind::kDict)) {
      for (const auto& [key, value] : root.pairs()) {
        if (key.describe().empty() || value.describe().empty()) fuzz::finding("nameless values");
      }
    }
  });
  return 0;
}
