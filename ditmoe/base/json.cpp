#include "ditmoe/base/json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/base/quoted.h"

namespace ditmoe::base {
namespace {

// Limits that together keep a document below its text's size and 64 MiB. The parser holds two
// copies of the token it reads, in buffers that double as they grow.
constexpr size_t kMaxTokenBytes = size_t{4} << 20;
constexpr size_t kMaxKeyBytes = size_t{4} << 20;  // in all: keys are copied when an object grows
constexpr size_t kMaxDocumentBytes = size_t{24} << 20;
constexpr size_t kMaxMemberBytes = size_t{8} << 20;  // the visitor needs memory too

// What a value costs: its place in a vector that doubles, and what it has on the heap.
constexpr size_t kElementBytes = 3 * sizeof(Json);
constexpr size_t kMemberBytes = 3 * sizeof(Json::object_t::value_type) + sizeof(void*);
constexpr size_t kHeapBytes = 64;

using Visitor = FunctionRef<void(const std::string& key, Json value)>;

// Builds the document as the parser reports its parts. Against the library's own builder: finds
// duplicate keys, limits depth and size, and takes linear time for an object with many keys.
class DocumentBuilder {
 public:
  // With a visitor, members of the outermost object go there instead of into the document.
  DocumentBuilder(const std::string& source, int max_depth, const Visitor* visitor)
      : source_(source),
        max_depth_(static_cast<size_t>(max_depth)),
        visitor_(visitor),
        max_bytes_(visitor != nullptr ? kMaxMemberBytes : kMaxDocumentBytes) {}

  Json take() { return std::move(root_); }

  // What follows is called by the parser (the names are its own); true means go on.

  bool null() { return add(nullptr); }

  bool boolean(bool value) { return add(value); }

  bool number_integer(int64_t value) { return add(value); }

  bool number_unsigned(uint64_t value) { return add(value); }

  bool number_float(double value, const std::string& /*text*/) { return add(value); }

  // Copied, not moved: the parser's buffer has grown to the longest string so far.
  bool string(const std::string& value) {
    spend(kHeapBytes);
    return add(value);
  }

  bool binary(Json::binary_t& /*value*/) { return false; }  // not in JSON text

  bool start_object(size_t /*size*/) { return open(Json::object()); }

  bool key(const std::string& key) {
    key_bytes_ += key.size();
    if (key_bytes_ > kMaxKeyBytes && !at_top()) {
      bad_input("{}: expected at most {} bytes of keys, found more", source_, kMaxKeyBytes);
    }
    key_ = std::string(key);
    return true;
  }

  bool end_object() {
    check_distinct_keys(open_.back()->get_ref<const Json::object_t&>());
    return close();
  }

  bool start_array(size_t /*size*/) { return open(Json::array()); }

  bool end_array() { return close(); }

  [[noreturn]] bool parse_error(size_t position,
                                const std::string& /*token*/,
                                const Json::exception& /*error*/) {
    bad_input("{}: malformed JSON at byte {}", source_, position);
  }

 private:
  // Whether the innermost open object is the one whose members are visited.
  bool at_top() const { return visitor_ != nullptr && open_.size() == 1; }

  void spend(size_t bytes) {
    spent_ += bytes;
    if (spent_ > max_bytes_) {
      bad_input("{}: expected JSON that takes at most {} MiB of memory, found more",
                source_,
                max_bytes_ >> 20);
    }
  }

  // Puts the value where the text has it and returns its place.
  Json* place(Json value) {
    if (open_.empty()) {
      if (visitor_ != nullptr && !value.is_object()) {
        bad_input("{}: expected a JSON object, found {}", source_, value.type_name());
      }
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      spend(kElementBytes);
      auto& items = open_.back()->get_ref<Json::array_t&>();
      return &items.emplace_back(std::move(value));
    }
    spend(kMemberBytes);
    // The map's own insertion searches all keys; end_object() makes sure that they differ.
    Json::object_t::Container& members = open_.back()->get_ref<Json::object_t&>();
    return &members.emplace_back(std::move(key_), std::move(value)).second;
  }

  bool add(Json value) {
    place(std::move(value));
    hand_over_member();
    return true;
  }

  bool open(Json container) {
    if (open_.size() >= max_depth_) {
      bad_input("{}: expected JSON nested at most {} deep, found more", source_, max_depth_);
    }
    spend(kHeapBytes);
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    hand_over_member();
    return true;
  }

  // Gives the visitor the member of the outermost object that has just been completed.
  void hand_over_member() {
    if (!at_top()) return;
    Json::object_t::Container& members = open_.back()->get_ref<Json::object_t&>();
    std::pair<const std::string, Json> member = std::move(members.back());
    members.pop_back();
    spent_ = 0;
    key_bytes_ = 0;
    (*visitor_)(member.first, std::move(member.second));
  }

  void check_distinct_keys(const Json::object_t& object) const {
    std::vector<const std::string*> keys;
    keys.reserve(object.size());
    for (const auto& [key, value] : object) keys.push_back(&key);
    const auto less = [](const auto* left, const auto* right) { return *left < *right; };
    const auto equal = [](const auto* left, const auto* right) { return *left == *right; };
    std::sort(keys.begin(), keys.end(), less);
    const auto twice = std::adjacent_find(keys.begin(), keys.end(), equal);
    if (twice != keys.end()) {
      bad_input("{}: expected distinct keys, found {} twice", source_, base::quoted(**twice));
    }
  }

  const std::string& source_;
  size_t max_depth_;
  const Visitor* visitor_;
  size_t max_bytes_;
  size_t spent_ = 0;
  size_t key_bytes_ = 0;
  Json root_;
  std::vector<Json*> open_;  // stay in place: only the innermost grows
  std::string key_;
};

// Refuses what would cost more memory to read than to look at.
void check_tokens(std::string_view text, const std::string& source) {
  bool in_string = false;
  size_t token = 0;  // begins behind the last structural character
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    // The parser would take a zero byte for the end of the text and ignore what follows.
    if (c == '\0') bad_input("{}: malformed JSON at byte {}", source, i + 1);
    if (c == '"') {
      in_string = !in_string;
    } else if (in_string) {
      if (c == '\\') ++i;
    } else if (c == ',' || c == ':' || c == '{' || c == '}' || c == '[' || c == ']') {
      token = i + 1;
    }
    if (i >= token && i - token >= kMaxTokenBytes) {
      bad_input("{}: byte {}: expected a string or number of at most {} bytes",
                source,
                token,
                kMaxTokenBytes);
    }
  }
}

Json parse(std::string_view text,
           const std::string& source,
           int max_depth,
           const Visitor* visitor) {
  check_tokens(text, source);
  DocumentBuilder builder(source, max_depth, visitor);
  Json::sax_parse(text, &builder);
  return builder.take();
}

}  // namespace

Json parse_json(std::string_view text, const std::string& source, int max_depth) {
  return parse(text, source, max_depth, nullptr);
}

void parse_json_members(std::string_view text,
                        const std::string& source,
                        Visitor visit,
                        int max_depth) {
  parse(text, source, max_depth, &visit);
}

}  // namespace ditmoe::base
