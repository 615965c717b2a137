#include "ditmoe/formats/pickle.h"

#include <bit>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::formats {

PickleKind PickleValue::kind() const { return pickle_->node(index_).kind; }

uint64_t PickleValue::byte() const { return pickle_->node(index_).byte; }

bool PickleValue::boolean() const {
  DITMOE_ASSERT(is(PickleKind::kBool));
  return pickle_->node(index_).bits() != 0;
}

int64_t PickleValue::integer() const {
  DITMOE_ASSERT(is(PickleKind::kInteger));
  return std::bit_cast<int64_t>(pickle_->node(index_).bits());
}

double PickleValue::floating() const {
  DITMOE_ASSERT(is(PickleKind::kFloat));
  return std::bit_cast<double>(pickle_->node(index_).bits());
}

std::string_view PickleValue::text() const {
  DITMOE_ASSERT(is(PickleKind::kText) || is(PickleKind::kBytes) || is(PickleKind::kBigInteger));
  const Pickle::Node& node = pickle_->node(index_);
  return pickle_->text(node.first, node.second);
}

std::string PickleValue::global() const {
  DITMOE_ASSERT(is(PickleKind::kGlobal));
  const Pickle::Node& node = pickle_->node(index_);
  if (node.third != 0) {
    const PickleValue module(pickle_, node.first);
    const PickleValue name(pickle_, node.second);
    return fmt::format("{}.{}", module.text(), name.text());
  }
  std::string name(pickle_->text(node.first, node.second));
  name[name.find('\n')] = '.';
  return name;
}

size_t PickleValue::size() const {
  const Pickle::Node& node = pickle_->node(index_);
  return node.kind == PickleKind::kTuple ? node.second : node.third;
}

std::vector<PickleValue> PickleValue::items() const {
  const Pickle::Node& node = pickle_->node(index_);
  std::vector<PickleValue> items;
  if (node.kind == PickleKind::kTuple) {
    for (uint32_t i = 0; i < node.second; ++i) {
      items.push_back({pickle_, pickle_->tuples_[node.first + i]});
    }
    return items;
  }
  DITMOE_ASSERT(is(PickleKind::kList) || is(PickleKind::kSet));
  uint32_t link = node.first;
  for (uint32_t i = 0; i < node.third; ++i, link = pickle_->links_[link].next) {
    items.push_back({pickle_, pickle_->links_[link].value});
  }
  return items;
}

std::vector<std::pair<PickleValue, PickleValue>> PickleValue::pairs() const {
  DITMOE_ASSERT(is(PickleKind::kDict));
  const Pickle::Node& node = pickle_->node(index_);
  std::vector<std::pair<PickleValue, PickleValue>> pairs;
  uint32_t link = node.first;
  for (uint32_t i = 0; i < node.third; ++i) {
    const Pickle::Link& pair = pickle_->links_[link];
    pairs.emplace_back(PickleValue(pickle_, pair.key), PickleValue(pickle_, pair.value));
    link = pair.next;
  }
  return pairs;
}

std::string PickleValue::callee() const {
  DITMOE_ASSERT(is(PickleKind::kObject));
  const PickleValue callee(pickle_, pickle_->node(index_).first);
  return callee.is(PickleKind::kGlobal) ? callee.global() : callee.describe();
}

PickleValue PickleValue::arguments() const {
  DITMOE_ASSERT(is(PickleKind::kObject) || is(PickleKind::kPersistent));
  const Pickle::Node& node = pickle_->node(index_);
  return {pickle_, is(PickleKind::kObject) ? node.second : node.first};
}

bool PickleValue::has_state() const {
  return is(PickleKind::kObject) && pickle_->node(index_).third != 0;
}

PickleValue PickleValue::state() const {
  DITMOE_ASSERT(has_state());
  return {pickle_, pickle_->node(index_).third - 1};
}

bool PickleValue::has_items() const { return pickle_->node(index_).has_items; }

std::string PickleValue::describe() const {
  switch (kind()) {
    case PickleKind::kNone:
      return "None";
    case PickleKind::kBool:
      return boolean() ? "True" : "False";
    case PickleKind::kInteger:
      return fmt::format("the integer {}", integer());
    case PickleKind::kBigInteger:
      return fmt::format("an integer of {} bytes", text().size());
    case PickleKind::kFloat:
      return fmt::format("the number {}", floating());
    case PickleKind::kText:
      return fmt::format("the text {}", printable(text()));
    case PickleKind::kBytes:
      return fmt::format("{} bytes", text().size());
    case PickleKind::kTuple:
      return fmt::format("a tuple of {}", size());
    case PickleKind::kList:
      return fmt::format("a list of {}", size());
    case PickleKind::kSet:
      return fmt::format("a set of {}", size());
    case PickleKind::kDict:
      return fmt::format("a dict of {}", size());
    case PickleKind::kGlobal:
      return fmt::format("the name {}", printable(global()));
    case PickleKind::kObject:
      return fmt::format("an object made by {}", printable(callee()));
    case PickleKind::kPersistent:
      return "a reference to a storage";
  }
  return "";
}

std::vector<PickleValue> Pickle::all(PickleKind kind) const {
  std::vector<PickleValue> values;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].kind == kind) values.push_back({this, static_cast<uint32_t>(i)});
  }
  return values;
}

}  // namespace ditmoe::formats
