#include "ditmoe/formats/toml.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;

constexpr size_t kMaxBytes = size_t{1} << 18;
constexpr int kMaxDots = 32;  // in one dotted key
constexpr size_t kMaxShown = 200;

bool is_bare(std::string_view word, std::string_view also = "") {
  return !word.empty() && std::all_of(word.begin(), word.end(), [also](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || also.find(c) != std::string_view::npos;
  });
}

// A part of a key as a message shows it.
std::string shown(std::string_view part) {
  return is_bare(part) && part.size() <= kMaxShown ? std::string(part) : printable(part);
}

// Past the string that begins at text[begin] with a quote, or at the end of the line or the text
// where it does not end, which is for the parser to say.
size_t end_of_string(std::string_view text, size_t begin) {
  const char quote = text[begin];
  const std::string thrice(3, quote);
  const bool is_long = text.substr(begin).starts_with(thrice);
  for (size_t i = begin + (is_long ? 3 : 1); i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"') {
      ++i;
    } else if (is_long ? text.substr(i).starts_with(thrice) : text[i] == quote) {
      if (!is_long) return i + 1;
      // The last of up to five quotes end the string.
      const size_t other = text.find_first_not_of(quote, i);
      return std::min({other, i + 5, text.size()});
    } else if (!is_long && text[i] == '\n') {
      return i;
    }
  }
  return text.size();
}

// The parser builds a table for each part of a dotted key and frees them recursively: a megabyte of
// "a.a.a" would exhaust the stack. Nested brackets it limits itself.
void check_dots(std::string_view text, const std::string& source) {
  int line = 1;
  int dots = 0;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    size_t next = i + 1;
    if (c == '#') {
      next = std::min(text.find('\n', i), text.size());
    } else if (c == '"' || c == '\'') {
      next = end_of_string(text, i);
    } else if (c == '.' && ++dots > kMaxDots) {
      bad_input("{}:{}: expected at most {} dots in a key", source, line, kMaxDots);
    } else if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) {
      dots = 0;
    }
    line += static_cast<int>(std::ranges::count(text.substr(i, next - i), '\n'));
    i = next;
  }
}

std::string one_line(std::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return out;
}

toml::table parse_table(std::string_view text, const std::string& source) {
  if (text.size() > kMaxBytes) {
    bad_input("{}: expected at most {} bytes, found {}", source, kMaxBytes, text.size());
  }
  check_dots(text, source);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    bad_input("{}:{}: {}", source, error.source().begin.line, one_line(error.description()));
  }
}

std::vector<std::string> parts_of(const std::string& key) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const size_t dot = key.find('.', begin);
    parts.push_back(key.substr(begin, dot - begin));
    if (dot == std::string::npos) return parts;
    begin = dot + 1;
  }
}

// Edits that turn one word into the other: insert, delete or replace a letter, or swap two
// neighbours (optimal string alignment).
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> before_last(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

// What a message calls a value of this kind.
std::string describe(const toml::node& node) {
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
  if (const auto* text = node.as_string()) return printable(text->get());
  if (const auto* truth = node.as_boolean()) return truth->get() ? "true" : "false";
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  return "a date or time";
}

// The value of an assignment; a bare word is a string.
toml::table parse_assignment(const std::string& value, const std::string& place) {
  const bool plain_number =
      is_bare(value, ".+") && value.find_first_not_of("0123456789+-.eE_") == std::string::npos;
  const bool word = value == "true" || value == "false" || value == "inf" || value == "nan";
  if (is_bare(value, "./:+@~,%") && !plain_number && !word) {
    toml::table table;
    table.insert("value", value);
    return table;
  }
  toml::table table;
  try {
    table = toml::parse(fmt::format("value = {}", value));
  } catch (const toml::parse_error& error) {
    bad_input("{}: {} (found {})", place, one_line(error.description()), printable(value));
  }
  if (table.size() != 1) bad_input("{}: expected one value, found {}", place, printable(value));
  return table;
}

}  // namespace

struct TomlDocument::Contents {
  std::string source;
  toml::table table;
  std::set<std::string> known;      // asked for by get()
  std::set<std::string> overrides;  // given by set()

  const toml::node* find(const std::string& key) const {
    const toml::node* node = &table;
    for (const std::string& part : parts_of(key)) {
      const toml::table* parent = node->as_table();
      node = parent != nullptr ? parent->get(part) : nullptr;
      if (node == nullptr) return nullptr;
    }
    return node;
  }

  // The node of a key that is asked for, if it is there.
  const toml::node* ask(const std::string& key) {
    known.insert(key);
    return find(key);
  }

  std::string where(const std::string& key) const {
    for (const std::string& changed : overrides) {
      if (key == changed || key.starts_with(changed + ".")) return fmt::format("--set {}", key);
    }
    const toml::node* node = find(key);
    if (node == nullptr || node->source().begin.line == 0)
      return fmt::format("{}: {}", source, key);
    return fmt::format("{}:{}: {}", source, node->source().begin.line, key);
  }

  [[noreturn]] void wrong_type(const std::string& key,
                               const char* expected,
                               const toml::node& found) const {
    bad_input("{}: expected {}, found {}", where(key), expected, describe(found));
  }

  bool leads_to_known(const std::string& prefix) const {
    const auto next = known.lower_bound(prefix + ".");
    return next != known.end() && next->starts_with(prefix + ".");
  }

  void check_known(const toml::table& parent, const std::string& prefix) const;
};

void TomlDocument::Contents::check_known(const toml::table& parent,
                                         const std::string& prefix) const {
  for (const auto& [key, node] : parent) {
    // A quoted key such as "a.b" is not the path a.b, and cannot be asked for.
    const bool bare = is_bare(key.str());
    const std::string path = prefix + shown(key.str());
    if (bare && known.contains(path)) continue;
    if (bare && leads_to_known(path) && node.is_table()) {
      check_known(*node.as_table(), path + ".");
      continue;
    }
    // A misspelt table is best explained by a key in it.
    std::string full = path;
    const toml::node* leaf = &node;
    while (leaf->is_table() && !leaf->as_table()->empty()) {
      const auto first = leaf->as_table()->begin();
      full += fmt::format(".{}", shown(first->first.str()));
      leaf = &first->second;
    }
    if (full.size() > kMaxShown) full = full.substr(0, kMaxShown) + "...";
    const auto line = leaf->source().begin.line;  // none for what set() gave
    const std::string nearest = nearest_word(full, {known.begin(), known.end()});
    bad_input("{}: unknown key '{}'{}",
              line == 0 ? "--set" : fmt::format("{}:{}", source, line),
              full,
              nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest));
  }
}

TomlDocument TomlDocument::open(const std::string& path) {
  return parse(read_text(path, kMaxBytes), path);
}

TomlDocument TomlDocument::parse(const std::string& text, const std::string& source) {
  TomlDocument document;
  document.contents_ = std::make_shared<Contents>();
  document.contents_->source = source;
  document.contents_->table = parse_table(text, source);
  return document;
}

void TomlDocument::set(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  const std::string key = assignment.substr(0, equals);
  const std::vector<std::string> parts = parts_of(key);
  const bool well_formed =
      equals != std::string::npos && parts.size() <= kMaxDots &&
      std::all_of(parts.begin(), parts.end(), [](const auto& part) { return is_bare(part); });
  if (!well_formed) bad_input("--set {}: expected key=value", printable(assignment));

  toml::table value = parse_assignment(assignment.substr(equals + 1), fmt::format("--set {}", key));
  toml::table* table = &contents_->table;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const toml::node& child = table->insert(parts[i], toml::table{}).first->second;
    table = table->get_as<toml::table>(parts[i]);
    if (table == nullptr) {
      bad_input("--set {}: expected a table at '{}', found {}", key, parts[i], describe(child));
    }
  }
  value.get("value")->visit([&](auto& node) { table->insert_or_assign(parts.back(), node); });
  contents_->overrides.insert(key);
}

void TomlDocument::get(const std::string& key, int64_t& value) {
  const toml::node* node = contents_->ask(key);
  if (node == nullptr) return;
  if (!node->is_integer()) contents_->wrong_type(key, "an integer", *node);
  value = node->as_integer()->get();
}

void TomlDocument::get(const std::string& key, double& value) {
  const toml::node* node = contents_->ask(key);
  if (node == nullptr) return;
  const auto number = node->value<double>();
  if (!node->is_number() || !number || !std::isfinite(*number)) {
    contents_->wrong_type(key, "a finite number", *node);
  }
  value = *number;
}

void TomlDocument::get(const std::string& key, bool& value) {
  const toml::node* node = contents_->ask(key);
  if (node == nullptr) return;
  if (!node->is_boolean()) contents_->wrong_type(key, "true or false", *node);
  value = node->as_boolean()->get();
}

void TomlDocument::get(const std::string& key, std::string& value) {
  const toml::node* node = contents_->ask(key);
  if (node == nullptr) return;
  if (!node->is_string()) contents_->wrong_type(key, "a string", *node);
  value = node->as_string()->get();
}

void TomlDocument::get(const std::string& key, std::vector<int64_t>& value) {
  const toml::node* node = contents_->ask(key);
  if (node == nullptr) return;
  if (!node->is_array()) contents_->wrong_type(key, "an array of integers", *node);
  std::vector<int64_t> items;
  for (const toml::node& item : *node->as_array()) {
    if (!item.is_integer()) contents_->wrong_type(key, "an array of integers", item);
    items.push_back(item.as_integer()->get());
  }
  value = std::move(items);
}

void TomlDocument::get(const std::string& key, std::vector<std::string>& value) {
  const toml::node* node = contents_->ask(key);
  if (node == nullptr) return;
  if (!node->is_array()) contents_->wrong_type(key, "an array of strings", *node);
  std::vector<std::string> items;
  for (const toml::node& item : *node->as_array()) {
    if (!item.is_string()) contents_->wrong_type(key, "an array of strings", item);
    items.push_back(item.as_string()->get());
  }
  value = std::move(items);
}

bool TomlDocument::contains(const std::string& key) const {
  return contents_->find(key) != nullptr;
}

std::string TomlDocument::where(const std::string& key) const { return contents_->where(key); }

void TomlDocument::finish() const { contents_->check_known(contents_->table, ""); }

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  const size_t limit = std::max<size_t>(1, word.size() / 3);
  size_t smallest = limit + 1;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    const size_t longer = std::max(candidate.size(), word.size());
    if (longer - std::min(candidate.size(), word.size()) >= smallest) continue;
    if (const size_t distance = edit_distance(word, candidate); distance < smallest) {
      smallest = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace ditmoe::formats
