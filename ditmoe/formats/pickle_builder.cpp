#include "ditmoe/formats/pickle_builder.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

namespace ditmoe::formats {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr uint32_t kNothing = std::numeric_limits<uint32_t>::max();

// What Python could hash.
bool may_be_key(PickleKind kind) {
  return kind != PickleKind::kList && kind != PickleKind::kSet && kind != PickleKind::kDict;
}

const char* name_of(PickleKind container) {
  return container == PickleKind::kList  ? "a list"
         : container == PickleKind::kSet ? "a set"
                                         : "a dict";
}

}  // namespace

PickleBuilder::PickleBuilder(std::span<const std::byte> bytes, const std::string& place)
    : place_(place) {
  pickle_.bytes_ = bytes;
}

uint32_t PickleBuilder::add(Node node) {
  node.byte = static_cast<uint32_t>(begin_);
  pickle_.nodes_.push_back(node);
  return static_cast<uint32_t>(pickle_.nodes_.size() - 1);
}

void PickleBuilder::deepen(uint32_t outer, uint32_t inner) {
  const auto depth = static_cast<size_t>(node(inner).depth) + 1;
  if (depth > kMaxDepth) fail("expected values nested at most {} deep, found more", kMaxDepth);
  node(outer).depth = std::max(node(outer).depth, static_cast<uint8_t>(depth));
}

uint32_t PickleBuilder::number(PickleKind kind, int64_t number) {
  const auto bits = std::bit_cast<uint64_t>(number);
  return add({.kind = kind,
              .first = static_cast<uint32_t>(bits),
              .second = static_cast<uint32_t>(bits >> 32)});
}

uint32_t PickleBuilder::text(PickleKind kind, uint64_t first, uint64_t count) {
  return add({.kind = kind,
              .first = static_cast<uint32_t>(first),
              .second = static_cast<uint32_t>(count)});
}

uint32_t PickleBuilder::global(uint32_t module, uint32_t name) {
  return add({.kind = PickleKind::kGlobal, .first = module, .second = name, .third = 1});
}

uint32_t PickleBuilder::tuple(std::span<const uint32_t> values) {
  const uint32_t tuple = add({.kind = PickleKind::kTuple,
                              .first = static_cast<uint32_t>(pickle_.tuples_.size()),
                              .second = static_cast<uint32_t>(values.size())});
  for (const uint32_t index : values) {
    pickle_.tuples_.push_back(index);
    deepen(tuple, index);
  }
  return tuple;
}

uint32_t PickleBuilder::container(PickleKind kind) {
  return add({.kind = kind, .first = kNothing, .second = kNothing});
}

void PickleBuilder::link(uint32_t container, uint32_t key, uint32_t element) {
  pickle_.links_.push_back({kNothing, key, element});
  const auto last = static_cast<uint32_t>(pickle_.links_.size() - 1);
  Node& owner = node(container);
  if (owner.third == 0) {
    owner.first = last;
  } else {
    pickle_.links_[owner.second].next = last;
  }
  owner.second = last;
  ++owner.third;
  deepen(container, element);
}

void PickleBuilder::add_elements(uint32_t container,
                                 PickleKind kind,
                                 std::span<const uint32_t> values) {
  if (node(container).kind == PickleKind::kObject) {
    node(container).has_items = true;
    return;
  }
  if (node(container).kind != kind) {
    fail("expected {}, found {}", name_of(kind), value(container).describe());
  }
  for (const uint32_t index : values) link(container, kNothing, index);
}

void PickleBuilder::add_pairs(uint32_t dict, std::span<const uint32_t> values) {
  if (values.size() % 2 != 0) fail("expected keys and values in pairs, found {}", values.size());
  if (node(dict).kind == PickleKind::kObject) {
    node(dict).has_items = true;
    return;
  }
  if (node(dict).kind != PickleKind::kDict) {
    fail("expected a dict, found {}", value(dict).describe());
  }
  for (size_t i = 0; i < values.size(); i += 2) {
    if (!may_be_key(node(values[i]).kind)) {
      fail("expected a key of a dict, found {}", value(values[i]).describe());
    }
    deepen(dict, values[i]);
    link(dict, values[i], values[i + 1]);
  }
}

bool PickleBuilder::is_attribute(uint32_t index) const {
  if (pickle_.nodes_[index].kind != PickleKind::kObject) return false;
  const std::string name = value(index).callee();
  return name == "__builtin__.getattr" || name == "builtins.getattr";
}

uint32_t PickleBuilder::call(uint32_t callee, uint32_t arguments) {
  const PickleKind kind = node(callee).kind;
  if (kind == PickleKind::kGlobal) {
    const std::string name = value(callee).global();
    const size_t most = name == "collections.OrderedDict" ? 0 : 1;  // the default's factory
    const bool is_dict = name == "collections.OrderedDict" || name == "collections.defaultdict";
    if (is_dict && value(arguments).size() <= most) return container(PickleKind::kDict);
  } else if (!is_attribute(callee)) {
    fail("expected a class or function, found {}", value(callee).describe());
  }
  const uint32_t object = add({.kind = PickleKind::kObject, .first = callee, .second = arguments});
  deepen(object, callee);
  deepen(object, arguments);
  return object;
}

void PickleBuilder::set_state(uint32_t object, uint32_t state) {
  if (node(object).kind == PickleKind::kDict) return;
  if (node(object).kind != PickleKind::kObject) {
    fail("expected an object, found {}", value(object).describe());
  }
  deepen(object, state);
  node(object).third = state + 1;
}

uint32_t PickleBuilder::persistent(uint32_t reference) {
  const uint32_t result = add({.kind = PickleKind::kPersistent, .first = reference});
  deepen(result, reference);
  return result;
}

Pickle PickleBuilder::finish(uint32_t root, uint64_t size) {
  pickle_.root_ = root;
  pickle_.size_ = size;
  return std::move(pickle_);
}

}  // namespace ditmoe::formats
