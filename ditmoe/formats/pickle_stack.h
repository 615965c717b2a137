#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "ditmoe/formats/pickle_builder.h"

namespace ditmoe::formats {

// The stack of values under construction, its marks, and the memo. Values are indices of builder,
// which must outlive it and says where a fault is.
class PickleStack {
 public:
  explicit PickleStack(const PickleBuilder& builder) : builder_(builder) {}

  void push(uint32_t index) { values_.push_back(index); }

  // The value on top, above the last mark. what says in messages what it should be.
  uint32_t top(const char* what) const {
    if (available() == 0) builder_.fail("expected {} on the stack, found none", what);
    return values_.back();
  }

  uint32_t pop(const char* what) {
    const uint32_t index = top(what);
    values_.pop_back();
    return index;
  }

  uint32_t pop(PickleKind kind, const char* what) {
    const uint32_t index = pop(what);
    const PickleValue value = builder_.value(index);
    if (!value.is(kind)) builder_.fail("expected {}, found {}", what, value.describe());
    return index;
  }

  void mark() {
    if (marks_.size() == kMaxMarks) builder_.fail("expected at most {} open marks", kMaxMarks);
    marks_.push_back(static_cast<uint32_t>(values_.size()));
  }

  // Takes the values above the last mark, and the mark.
  std::vector<uint32_t> pop_to_mark() {
    if (marks_.empty()) builder_.fail("expected a mark on the stack, found none");
    const auto first = values_.begin() + marks_.back();
    std::vector<uint32_t> values(first, values_.end());
    values_.erase(first, values_.end());
    marks_.pop_back();
    return values;
  }

  // Takes the value on top, or the mark where there is none above it.
  void discard() {
    if (available() == 0 && !marks_.empty()) {
      marks_.pop_back();
    } else {
      pop("a value");
    }
  }

  // The only value there is left.
  uint32_t finish() {
    const uint32_t root = pop("a value");
    if (!values_.empty() || !marks_.empty()) {
      builder_.fail("expected one value at the end, found {} more and {} open marks",
                    values_.size(),
                    marks_.size());
    }
    return root;
  }

  // Remembers the value on top under a number of at most 2^20.
  void put(uint32_t number) {
    const uint32_t value = top("a value");
    if (number >= kMaxMemo) {
      builder_.fail("expected a number of the memo below {}, found {}", kMaxMemo, number);
    }
    if (number >= memo_.size()) memo_.resize(static_cast<size_t>(number) + 1, kUnset);
    if (memo_[number] == kUnset) ++memoised_;
    memo_[number] = value;
  }

  // Under as many as are remembered already.
  void memoize() { put(memoised_); }

  void get(uint32_t number) {
    if (number >= memo_.size() || memo_[number] == kUnset) {
      builder_.fail("expected something in the memo under {}, found nothing", number);
    }
    push(memo_[number]);
  }

 private:
  static constexpr size_t kMaxMarks = 64;
  static constexpr uint32_t kMaxMemo = 1U << 20;
  static constexpr uint32_t kUnset = std::numeric_limits<uint32_t>::max();

  size_t available() const { return values_.size() - (marks_.empty() ? 0 : marks_.back()); }

  const PickleBuilder& builder_;
  std::vector<uint32_t> values_;
  std::vector<uint32_t> marks_;  // sizes of values_
  std::vector<uint32_t> memo_;
  uint32_t memoised_ = 0;
};

}  // namespace ditmoe::formats
