#include "ditmoe/formats/tfevents.h"

#include "ditmoe/formats/tfrecord.h"

#include "target.h"

namespace {

using namespace ditmoe;

// What is kept of a file is whole, and all of it is kept again.
void keep(std::string_view file, int64_t steps_done) {
  const auto kept = formats::events_until(std::as_bytes(std::span(file)), steps_done);
  std::string shorter;
  for (const auto part : kept.parts) {
    shorter.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  const auto again = formats::events_until(std::as_bytes(std::span(shorter)), steps_done);
  if (again.num_records != kept.num_records) fuzz::finding("kept is not kept again");
  if (!again.damage.empty()) fuzz::finding("kept is damaged: " + again.damage);
  if (kept.damage.find('\n') != std::string::npos) fuzz::finding("lines: " + kept.damage);
}

}  // namespace

// The first byte is the step up to which events are kept. The rest is a file, and then the content
// of a record whose checksums are right.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest = fuzz::text_of(data + 1, size - 1);
  keep(rest, data[0]);
  std::string file;
  formats::append_tfrecord(file, rest);
  formats::append_tfrecord(file, rest);
  keep(file, data[0]);
  return 0;
}
