#include "ditmoe/networks/model_metadata.h"

#include "target.h"

// The input is a JSON text in a model's metadata: its configuration, its classes and what it is to
// be sampled with, one after another.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  const std::string text(fuzz::text_of(data, size));
  const networks::Metadata metadata = {{"ditmoe.format", "1"},
                                       {"ditmoe.config", text},
                                       {"ditmoe.class_names", text},
                                       {"ditmoe.sampling", text}};
  fuzz::accepted([&] {
    networks::check_format(metadata, fuzz::kPath);
    const auto config = networks::read_config(metadata, fuzz::kPath);
    config->validate(fuzz::kPath);
  });
  fuzz::accepted([&] { networks::read_class_names(metadata, 2, fuzz::kPath); });
  fuzz::accepted(
      [&] { networks::read_sampling(metadata, networks::Objective::kDdpm, fuzz::kPath); });
  return 0;
}
