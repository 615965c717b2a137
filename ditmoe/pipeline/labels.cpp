#include "ditmoe/pipeline/labels.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/toml.h"

namespace ditmoe::pipeline {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isdigit(c) != 0;
  });
}

int32_t parse_number(std::string_view text, int64_t num_classes) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value >= num_classes) {
    base::bad_input("label {}: expected a number from 0 to {}", text, num_classes - 1);
  }
  return static_cast<int32_t>(value);
}

std::optional<int32_t> find_name(std::string_view text,
                                 const std::vector<std::string>& class_names) {
  const std::string wanted = lower(text);
  for (size_t i = 0; i < class_names.size(); ++i) {
    const std::string name = lower(class_names[i]);
    if (wanted == name || wanted == trim(std::string_view(name).substr(0, name.find(',')))) {
      return static_cast<int32_t>(i);
    }
  }
  return std::nullopt;
}

[[noreturn]] void reject_name(std::string_view text,
                              int64_t num_classes,
                              const std::vector<std::string>& class_names) {
  if (class_names.empty()) {
    base::bad_input(
        "label '{}': expected numbers from 0 to {}, ranges such as 0-2, `all` or `none`; this "
        "model "
        "has no class names",
        text,
        num_classes - 1);
  }
  std::vector<std::string> candidates = {"all", "none"};
  for (const std::string& name : class_names) candidates.push_back(lower(name));
  const std::string nearest = formats::nearest_word(lower(text), candidates);
  const auto class_name = find_name(nearest, class_names);
  base::bad_input(
      "label '{}': no such class{} (numbers from 0 to {}, ranges such as 0-2, class "
      "names, `all` or `none`)",
      text,
      nearest.empty()
          ? ""
          : ", did you mean '" + (class_name ? class_names[*class_name] : nearest) + "'?",
      num_classes - 1);
}

void append_labels(std::string_view text,
                   int64_t num_classes,
                   const std::vector<std::string>& class_names,
                   std::vector<int32_t>& labels) {
  if (is_number(text)) {
    labels.push_back(parse_number(text, num_classes));
    return;
  }
  const size_t dash = text.find('-');
  if (dash != std::string_view::npos && is_number(text.substr(0, dash)) &&
      is_number(text.substr(dash + 1))) {
    const int32_t first = parse_number(text.substr(0, dash), num_classes);
    const int32_t last = parse_number(text.substr(dash + 1), num_classes);
    if (first > last) base::bad_input("label range {}: expected the smaller number first", text);
    for (int32_t label = first; label <= last; ++label) labels.push_back(label);
    return;
  }
  const std::string word = lower(text);
  if (word == "all") {
    for (int32_t label = 0; label < num_classes; ++label) labels.push_back(label);
  } else if (word == "none") {
    labels.push_back(static_cast<int32_t>(num_classes));
  } else if (const auto label = find_name(text, class_names)) {
    labels.push_back(*label);
  } else {
    reject_name(text, num_classes, class_names);
  }
}

}  // namespace

std::vector<int32_t> parse_labels(std::string_view text,
                                  int64_t num_classes,
                                  const std::vector<std::string>& class_names) {
  std::vector<int32_t> labels;
  for (size_t start = 0; start <= text.size();) {
    const size_t comma = std::min(text.find(',', start), text.size());
    const std::string_view part = trim(text.substr(start, comma - start));
    if (part.empty()) base::bad_input("labels '{}': expected a label between commas", text);
    append_labels(part, num_classes, class_names, labels);
    start = comma + 1;
  }
  return labels;
}

std::string label_name(int32_t label,
                       int64_t num_classes,
                       const std::vector<std::string>& class_names) {
  if (label == num_classes) return "none";
  if (label >= 0 && label < static_cast<int32_t>(class_names.size())) return class_names[label];
  return "class " + std::to_string(label);
}

std::vector<int32_t> cycle_labels(const std::vector<int32_t>& labels, int64_t count) {
  DITMOE_ASSERT(!labels.empty());
  std::vector<int32_t> cycled(static_cast<size_t>(count));
  for (size_t i = 0; i < cycled.size(); ++i) cycled[i] = labels[i % labels.size()];
  return cycled;
}

}  // namespace ditmoe::pipeline
