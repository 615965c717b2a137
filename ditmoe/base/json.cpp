#include "ditmoe/base/json.h"

#include <unordered_set>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/quoted.h"

namespace ditmoe::base {
namespace {

// More than any file of ours needs; bounds the memory that a header of 100 MB can ask for.
constexpr size_t kMaxValues = size_t{1} << 22;

// Builds the document as the parser reports its parts. Against the library's own builder: finds
// duplicate keys, limits depth and size, and takes linear time for an object with many keys.
class DocumentBuilder {
 public:
  DocumentBuilder(const std::string& source, int max_depth)
      : source_(source), max_depth_(static_cast<size_t>(max_depth)) {}

  Json take() { return std::move(root_); }

  // What follows is called by the parser (the names are its own); true means go on.

  bool null() { return add(nullptr); }

  bool boolean(bool value) { return add(value); }

  bool number_integer(int64_t value) { return add(value); }

  bool number_unsigned(uint64_t value) { return add(value); }

  bool number_float(double value, const std::string& /*text*/) { return add(value); }

  bool string(std::string& value) { return add(std::move(value)); }

  bool binary(Json::binary_t& /*value*/) { return false; }  // not in JSON text

  bool start_object(size_t /*size*/) {
    keys_.emplace_back();
    return open(Json::object());
  }

  bool key(std::string& key) {
    if (!keys_.back().insert(key).second) {
      bad_input("{}: expected distinct keys, found {} twice", source_, base::quoted(key));
    }
    key_ = std::move(key);
    return true;
  }

  bool end_object() {
    keys_.pop_back();
    open_.pop_back();
    return true;
  }

  bool start_array(size_t /*size*/) { return open(Json::array()); }

  bool end_array() {
    open_.pop_back();
    return true;
  }

  [[noreturn]] bool parse_error(size_t position,
                                const std::string& /*token*/,
                                const Json::exception& /*error*/) {
    bad_input("{}: malformed JSON at byte {}", source_, position);
  }

 private:
  // Puts the value where the text has it and returns its place.
  Json* place(Json value) {
    if (++values_ > kMaxValues) {
      bad_input("{}: expected at most {} JSON values, found more", source_, kMaxValues);
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      auto& items = open_.back()->get_ref<Json::array_t&>();
      return &items.emplace_back(std::move(value));
    }
    // The map's own insertion searches all keys; key() has made sure that this one is new.
    Json::object_t::Container& members = open_.back()->get_ref<Json::object_t&>();
    return &members.emplace_back(std::move(key_), std::move(value)).second;
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (open_.size() >= max_depth_) {
      bad_input("{}: expected JSON nested at most {} deep, found more", source_, max_depth_);
    }
    open_.push_back(place(std::move(container)));
    return true;
  }

  const std::string& source_;
  size_t max_depth_;
  size_t values_ = 0;
  Json root_;
  std::vector<Json*> open_;                            // stay in place: only the innermost grows
  std::vector<std::unordered_set<std::string>> keys_;  // of each open object
  std::string key_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& source, int max_depth) {
  // The parser would take a zero byte for the end of the text and ignore what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    bad_input("{}: malformed JSON at byte {}", source, zero + 1);
  }
  DocumentBuilder builder(source, max_depth);
  Json::sax_parse(text, &builder);
  return builder.take();
}

}  // namespace ditmoe::base
