#include "ditmoe/formats/toml.h"

#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  fuzz::accepted([&] {
    auto document =
        formats::TomlDocument::parse(std::string(fuzz::text_of(data, size)), fuzz::kPath);
    int64_t integer = 0;
    double number = 0;
    bool truth = false;
    std::string text;
    std::vector<int64_t> integers;
    std::vector<std::string> texts;
    fuzz::accepted([&] { document.get("a", integer); });
    fuzz::accepted([&] { document.get("a.b", number); });
    fuzz::accepted([&] { document.get("c", truth); });
    fuzz::accepted([&] { document.get("train.steps", text); });
    fuzz::accepted([&] { document.get("train.lr", integers); });
    fuzz::accepted([&] { document.get("d", texts); });
    document.finish();
  });
  return 0;
}
