#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ditmoe::formats {

// What a pickled value is. Nothing is ever imported or called: a class or function is its name, and
// what Python would make by calling it is an object that remembers what it would be called with.
enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInteger,     // of 64 bits
  kBigInteger,  // longer; its bytes, lowest first, or its digits
  kFloat,
  kText,   // UTF-8 as written, not checked
  kBytes,  // and bytearray
  kTuple,
  kList,
  kSet,
  kDict,        // and OrderedDict
  kGlobal,      // "module.name"
  kObject,      // the result of a call
  kPersistent,  // a reference to something outside of the pickle
};

class Pickle;

// One value of a pickle, which must outlive it and stay where it is. Accessors assert the kind they
// are for.
class PickleValue {
 public:
  PickleKind kind() const;

  // Where the value was made, in bytes from the beginning of the pickle.
  uint64_t byte() const;

  bool is(PickleKind expected) const { return kind() == expected; }

  bool boolean() const;           // kBool
  int64_t integer() const;        // kInteger
  double floating() const;        // kFloat
  std::string_view text() const;  // kText, kBytes, kBigInteger
  std::string global() const;     // kGlobal: "module.name"

  size_t size() const;                                             // kTuple, kList, kSet, kDict
  std::vector<PickleValue> items() const;                          // kTuple, kList, kSet
  std::vector<std::pair<PickleValue, PickleValue>> pairs() const;  // kDict, in order

  std::string callee() const;     // kObject: the name of what is called
  PickleValue arguments() const;  // kObject: a tuple; kPersistent: what is referred to
  bool has_state() const;         // kObject
  PickleValue state() const;      // kObject with a state: what it is to be set up from
  bool has_items() const;         // kObject: whether something was put into it; what is not kept

  // One value of two handles of the same pickle.
  bool operator==(const PickleValue&) const = default;

  // For messages: "the integer 3", "a dict of 2", "an object made by argparse.Namespace".
  std::string describe() const;

 private:
  friend class Pickle;
  friend class PickleBuilder;

  PickleValue(const Pickle* pickle, uint32_t index) : pickle_(pickle), index_(index) {}

  const Pickle* pickle_ = nullptr;
  uint32_t index_ = 0;
};

// A value in Python's pickle format, protocols up to 5
// (docs.python.org/3/library/pickletools.html), read by a machine that knows the data types alone.
// The value is a graph: an object that is memoised occurs once however often it is referred to, and
// lists and dicts may contain themselves, so whoever walks it must bound the walk.
//
// Limits: 64 MiB of pickle, 2^20 opcodes, values and memo entries, 64 levels of nesting, text lines
// of 1024 bytes. Memory: what it is given of these 64 MiB, while it is read,
// then the size of the pickle; and at most 64 bytes an opcode.
class Pickle {
 public:
  // Reads one pickle from the beginning of bytes; what follows it is left. Throws bad_input
  // "<place>: byte N: ..." for damage, for what is beyond the limits and for opcodes that only
  // serve other purposes.
  static Pickle parse(std::span<const std::byte> bytes, const std::string& place);

  Pickle(Pickle&&) = default;
  Pickle& operator=(Pickle&&) = default;

  PickleValue root() const { return {this, root_}; }

  // All values of a kind, used or not, in the order they were made.
  std::vector<PickleValue> all(PickleKind kind) const;

  // From the beginning to the end of the pickle, as they were read.
  std::span<const std::byte> bytes() const { return own_; }

  uint64_t size() const { return size_; }

 private:
  friend class PickleValue;
  friend class PickleBuilder;

  Pickle() = default;

  // An element of a list, or a key and value, linked in order.
  struct Link {
    uint32_t next;
    uint32_t key;
    uint32_t value;
  };

  struct Node {
    PickleKind kind = PickleKind::kNone;
    uint8_t depth = 1;       // levels of values in it
    bool has_items = false;  // of an object
    uint32_t byte = 0;
    // Numbers: the lower and the upper half of their bits. Text and bytes: [first, first + second).
    // Tuples: as many of tuples_. Lists, sets and dicts: their first and last link. Objects: callee
    // and arguments. Persistent: the reference. Globals: as text, "module\nname"; with third, the
    // values that are module and name.
    uint32_t first = 0;
    uint32_t second = 0;
    uint32_t third = 0;  // elements of a list, set or dict; 1 + the state of an object

    uint64_t bits() const { return uint64_t{second} << 32 | first; }
  };

  const Node& node(uint32_t index) const { return nodes_[index]; }

  std::string_view text(uint32_t first, uint32_t count) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + first, count};
  }

  std::vector<std::byte> own_;
  std::span<const std::byte> bytes_;  // own_, once it is read
  std::deque<Node> nodes_;            // deques grow without copying
  std::deque<Link> links_;
  std::deque<uint32_t> tuples_;
  uint32_t root_ = 0;
  uint64_t size_ = 0;
};

}  // namespace ditmoe::formats
