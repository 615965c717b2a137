#include "ditmoe/base/json.h"

#include <set>
#include <vector>

#include "ditmoe/base/error.h"

namespace ditmoe::base {

Json parse_json(std::string_view text, const std::string& source, int max_depth) {
  // The parser would take a zero byte for the end of the text and ignore what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    bad_input("{}: malformed JSON at byte {}", source, zero + 1);
  }
  std::vector<std::set<std::string>> keys_of_open_objects;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
        keys_of_open_objects.emplace_back();
        [[fallthrough]];
      case Json::parse_event_t::array_start:
        if (depth >= max_depth) {
          bad_input("{}: expected JSON nested at most {} deep, found more", source, max_depth);
        }
        break;
      case Json::parse_event_t::object_end:
        keys_of_open_objects.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!keys_of_open_objects.back().insert(parsed.get<std::string>()).second) {
          bad_input(
              "{}: expected distinct keys, found \"{}\" twice", source, parsed.get<std::string>());
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    bad_input("{}: malformed JSON at byte {}", source, error.byte);
  } catch (const Json::exception& error) {
    bad_input("{}: malformed JSON ({})", source, error.what());
  }
}

}  // namespace ditmoe::base
