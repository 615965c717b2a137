#include "ditmoe/formats/torch_checkpoint.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/text.h"
#include "ditmoe/formats/torch_tensor.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;

constexpr std::string_view kEmaKey = "ema";
constexpr std::string_view kModelKeys[] = {"model", "state_dict", "module"};
constexpr std::string_view kArgumentsKey = "args";
constexpr size_t kMaxTensors = size_t{1} << 16;

bool is_text(const PickleValue& value, std::string_view text) {
  return value.is(PickleKind::kText) && value.text() == text;
}

// The last value under key, as Python would have it; nullopt where there is none.
std::optional<PickleValue> find(const PickleValue& dict, std::string_view key) {
  std::optional<PickleValue> found;
  for (const auto& [name, value] : dict.pairs()) {
    if (is_text(name, key)) found = value;
  }
  return found;
}

bool holds_tensors(const PickleValue& value) {
  if (!value.is(PickleKind::kDict)) return false;
  const auto pairs = value.pairs();
  return std::ranges::any_of(pairs, [](const auto& pair) { return is_torch_tensor(pair.second); });
}

// "ema", "opt" and 3 more.
std::string describe_keys(const PickleValue& dict) {
  constexpr size_t kShown = 6;
  const auto pairs = dict.pairs();
  if (pairs.empty()) return "an empty dict";
  std::string keys = "a dict with ";
  for (size_t i = 0; i < std::min(pairs.size(), kShown); ++i) {
    if (i > 0) keys += ", ";
    const PickleValue& key = pairs[i].first;
    keys += key.is(PickleKind::kText) ? printable(key.text().substr(0, 40)) : key.describe();
  }
  if (pairs.size() > kShown) keys += fmt::format(" and {} more", pairs.size() - kShown);
  return keys;
}

// The dict of the weights asked for.
PickleValue find_set(const PickleValue& root,
                     std::optional<WeightSet> weights,
                     const std::string& path) {
  if (is_torch_tensor(root)) {
    bad_input("{}: expected a checkpoint of named weights, found a single tensor", path);
  }
  if (root.is(PickleKind::kObject)) {
    bad_input(
        "{}: expected a checkpoint of named weights, found a whole object made by {}; save "
        "its state_dict()",
        path,
        printable(root.callee()));
  }
  if (!root.is(PickleKind::kDict)) {
    bad_input("{}: expected a checkpoint of named weights, found {}", path, root.describe());
  }
  if (weights != WeightSet::kModel) {
    const auto ema = find(root, kEmaKey);
    if (ema && holds_tensors(*ema)) return *ema;
    if (weights) {
      bad_input("{}: expected EMA weights under \"ema\", found {}", path, describe_keys(root));
    }
  }
  for (const std::string_view key : kModelKeys) {
    const auto model = find(root, key);
    if (model && holds_tensors(*model)) return *model;
  }
  if (holds_tensors(root)) return root;
  bad_input(
      "{}: expected weights by name, or under {}\"model\", \"state_dict\" or \"module\", "
      "found {}",
      path,
      weights ? "" : "\"ema\", ",
      describe_keys(root));
}

// Fit to be shown and compared: no control characters, and not long.
bool is_plain_text(std::string_view text) {
  constexpr size_t kLongest = 256;
  return text.size() <= kLongest && is_utf8(text) && std::ranges::none_of(text, [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
         });
}

std::optional<std::string> argument(const PickleValue& value) {
  if (value.is(PickleKind::kBool)) return value.boolean() ? "true" : "false";
  if (value.is(PickleKind::kInteger)) return std::to_string(value.integer());
  if (value.is(PickleKind::kFloat)) return fmt::format("{}", value.floating());
  if (value.is(PickleKind::kText) && is_plain_text(value.text())) return std::string(value.text());
  return std::nullopt;
}

}  // namespace

TorchWeights find_torch_weights(const TorchArchive& archive, std::optional<WeightSet> weights) {
  const std::string& path = archive.path;
  TorchWeights found;
  std::unordered_set<std::string_view> names;
  NameLengths lengths(path);
  for (const auto& [key, value] : find_set(archive.pickle.root(), weights, path).pairs()) {
    if (!is_torch_tensor(value)) continue;
    if (!key.is(PickleKind::kText) || !is_utf8(key.text())) {
      bad_input("{}: {} byte {}: expected the name of a tensor in UTF-8, found {}",
                path,
                archive.pickle_name,
                key.byte(),
                key.describe());
    }
    if (!names.insert(key.text()).second) {
      bad_input("{}: {} byte {}: expected distinct names, found {} twice",
                path,
                archive.pickle_name,
                key.byte(),
                printable(key.text()));
    }
    lengths.add(key.text());
    found.emplace_back(key.text(), value);
    if (found.size() > kMaxTensors) {
      bad_input("{}: expected at most {} tensors, found more", path, kMaxTensors);
    }
  }
  return found;
}

std::map<std::string, std::string> read_torch_arguments(const PickleValue& root) {
  constexpr size_t kMost = 256;
  std::map<std::string, std::string> arguments;
  if (!root.is(PickleKind::kDict)) return arguments;
  auto values = find(root, kArgumentsKey);
  if (values && values->has_state()) values = values->state();
  if (!values || !values->is(PickleKind::kDict)) return arguments;
  for (const auto& [key, value] : values->pairs()) {
    const auto text = argument(value);
    if (!text || !key.is(PickleKind::kText) || !is_plain_text(key.text())) continue;
    if (arguments.size() == kMost) break;
    // The last of two counts, as in Python.
    arguments.insert_or_assign(fmt::format("{}.{}", kArgumentsKey, key.text()), *text);
  }
  return arguments;
}

}  // namespace ditmoe::formats
