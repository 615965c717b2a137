#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/pickle.h"

namespace ditmoe::formats {

// Makes the values of a pickle, which are known by their indices. Every fault is bad_input naming
// the byte set with begin.
class PickleBuilder {
 public:
  PickleBuilder(std::span<const std::byte> bytes, const std::string& place);

  // Where the opcode that follows begins.
  void begin(uint64_t byte) { begin_ = byte; }

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    base::bad_input(
        "{}: byte {}: {}", place_, begin_, fmt::format(format, std::forward<Args>(args)...));
  }

  PickleValue value(uint32_t index) const { return {&pickle_, index}; }

  // None, a truth value, an integer or the bits of a float.
  uint32_t number(PickleKind kind, int64_t number = 0);

  // Text, bytes, a big integer or a global: bytes [first, first + count) of the pickle.
  uint32_t text(PickleKind kind, uint64_t first, uint64_t count);

  // The class or function of these two texts.
  uint32_t global(uint32_t module, uint32_t name);

  uint32_t tuple(std::span<const uint32_t> values);

  // An empty list, set or dict.
  uint32_t container(PickleKind kind);

  // Adds to a container of this kind, or to an object, which keeps nothing.
  void add_elements(uint32_t container, PickleKind kind, std::span<const uint32_t> values);

  // Adds keys and values, in turn, to a dict, or to an object, which keeps nothing.
  void add_pairs(uint32_t dict, std::span<const uint32_t> values);

  // What calling a global, or an attribute, with a tuple would give. Dictionaries with an order, or
  // a default, are dicts.
  uint32_t call(uint32_t callee, uint32_t arguments);

  // Sets up an object from a state. A dict's attributes are not kept.
  void set_state(uint32_t object, uint32_t state);

  uint32_t persistent(uint32_t reference);

  // The pickle of `size` bytes and this root.
  Pickle finish(uint32_t root, uint64_t size);

 private:
  using Node = Pickle::Node;

  Node& node(uint32_t index) { return pickle_.nodes_[index]; }

  uint32_t add(Node node);
  void link(uint32_t container, uint32_t key, uint32_t element);

  // A class within another, as old protocols name it: getattr(Outer, "Inner").
  bool is_attribute(uint32_t index) const;

  // outer contains inner from now on.
  void deepen(uint32_t outer, uint32_t inner);

  const std::string& place_;
  Pickle pickle_;
  uint64_t begin_ = 0;
};

}  // namespace ditmoe::formats
