#include "ditmoe/base/json.h"

#include "target.h"

// What is accepted has to be JSON to the library too, and to survive being written and read.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ditmoe;
  const std::string_view text = fuzz::text_of(data, size);
  base::Json json;
  if (!fuzz::accepted([&] { json = base::parse_json(text, fuzz::kPath); })) return 0;
  if (!base::Json::accept(text)) fuzz::finding("accepted what is no JSON");
  const std::string written = json.dump();
  if (base::parse_json(written, fuzz::kPath).dump() != written) fuzz::finding("changed");
  if (!json.is_object()) return 0;
  size_t members = 0;
  base::parse_json_members(
      text, fuzz::kPath, [&](const std::string&, const base::Json&) { ++members; });
  if (members != json.size()) fuzz::finding("members are missing");
  return 0;
}
