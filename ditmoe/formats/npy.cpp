#include "ditmoe/formats/npy.h"

#include <array>
#include <charconv>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::formats {
namespace {

using base::DType;

constexpr std::array<std::pair<std::string_view, DType>, 9> kDescriptions = {{
    {"<f8", DType::kF64},
    {"<f4", DType::kF32},
    {"<f2", DType::kF16},
    {"<i8", DType::kI64},
    {"<i4", DType::kI32},
    {"<i2", DType::kI16},
    {"|i1", DType::kI8},
    {"|u1", DType::kU8},
    {"|b1", DType::kBool},
}};

// Reads the few Python literals a header is made of.
class LiteralReader {
 public:
  LiteralReader(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  NpyHeader header();

 private:
  [[noreturn]] void fail(const char* expected) const {
    base::bad_input("{}: npy header character {}: expected {}, found {}",
                    place_,
                    position_,
                    expected,
                    printable(text_.substr(position_, 20)));
  }

  void skip_spaces() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) {
      ++position_;
    }
  }

  // Takes the token if it comes next.
  bool take(std::string_view token) {
    skip_spaces();
    if (!text_.substr(position_).starts_with(token)) return false;
    position_ += token.size();
    return true;
  }

  void expect(std::string_view token, const char* expected) {
    if (!take(token)) fail(expected);
  }

  std::string_view string() {
    const char quote = take("'") ? '\'' : '"';
    if (quote == '"') expect("\"", "a string");
    const size_t end = text_.find_first_of("'\"\\\n", position_);
    if (end == std::string_view::npos || text_[end] != quote) fail("a plain string");
    const std::string_view content = text_.substr(position_, end - position_);
    position_ = end + 1;
    return content;
  }

  int64_t dimension() {
    skip_spaces();
    int64_t value = 0;
    const char* begin = text_.data() + position_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc() || value < 0) fail("a dimension from 0 to 2^63-1");
    position_ += static_cast<size_t>(end - begin);
    return value;
  }

  base::Shape shape();
  DType dtype();

  std::string_view text_;
  const std::string& place_;
  size_t position_ = 0;
};

base::Shape LiteralReader::shape() {
  base::Shape shape;
  expect("(", "a tuple");
  while (!take(")")) {
    if (shape.size() == kMaxRank) fail("at most 8 dimensions");
    shape.push_back(dimension());
    if (take(",")) continue;
    if (shape.size() == 1) fail("','");  // (3) is a number, not a tuple
    expect(")", "',' or ')'");
    break;
  }
  return shape;
}

DType LiteralReader::dtype() {
  const size_t start = position_;
  if (!take("[")) {
    const std::string_view found = string();
    for (const auto& [description, dtype] : kDescriptions) {
      if (description == found) return dtype;
    }
  }
  position_ = start;
  fail("a little-endian type among f2 f4 f8 i1 i2 i4 i8 u1 b1");
}

NpyHeader LiteralReader::header() {
  NpyHeader header;
  std::set<std::string_view> keys;
  expect("{", "'{'");
  while (!take("}")) {
    const std::string_view key = string();
    if (!keys.insert(key).second) fail("no key twice");
    expect(":", "':'");
    if (key == "descr") {
      header.dtype = dtype();
    } else if (key == "fortran_order") {
      expect("False", "False (C order)");
    } else if (key == "shape") {
      header.shape = shape();
    } else {
      fail("no key but descr, fortran_order and shape");
    }
    if (take(",")) continue;
    expect("}", "',' or '}'");
    break;
  }
  if (keys.size() != 3) fail("the keys descr, fortran_order and shape");
  skip_spaces();
  if (position_ != text_.size()) fail("the end");
  return header;
}

}  // namespace

NpyHeader parse_npy_header(std::string_view text, const std::string& place) {
  return LiteralReader(text, place).header();
}

std::string npy_head(const NpyHeader& header, const std::string& place) {
  constexpr size_t kAlignment = 64;
  std::string_view description;
  for (const auto& [candidate, dtype] : kDescriptions) {
    if (dtype == header.dtype) description = candidate;
  }
  if (description.empty()) {
    base::failure("{}: NumPy has no type {}", place, base::name_of(header.dtype));
  }
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                 description,
                                 fmt::join(header.shape, ", "),
                                 header.shape.size() == 1 ? "," : "");
  const size_t unpadded = kNpyPrefixBytes + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  append_little(head, static_cast<uint16_t>(text.size()));
  return head + text;
}

}  // namespace ditmoe::formats
