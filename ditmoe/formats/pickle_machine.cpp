#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <string_view>

#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/pickle.h"
#include "ditmoe/formats/pickle_builder.h"
#include "ditmoe/formats/pickle_input.h"
#include "ditmoe/formats/pickle_opcodes.h"
#include "ditmoe/formats/pickle_stack.h"

namespace ditmoe::formats {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
constexpr uint32_t kMaxOpcodes = 1U << 20;  // bounds values, what they contain, and the stack
constexpr uint8_t kLastProtocol = 5;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() < PickleInput::kMaxLine &&
         std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) > ' '; });
}

// Executes the opcodes. Nothing recurses; each opcode makes one value at most.
class PickleMachine {
 public:
  PickleMachine(std::span<const std::byte> bytes, const std::string& place)
      : builder_(bytes, place), input_(bytes, builder_), stack_(builder_) {}

  Pickle run() {
    for (uint32_t count = 0;; ++count) {
      begin_ = input_.position();
      builder_.begin(begin_);
      if (count == kMaxOpcodes) fail("expected at most {} opcodes, found more", kMaxOpcodes);
      opcode_ = static_cast<Opcode>(input_.load<uint8_t>());
      if (opcode_ == Opcode::kStop) break;
      const bool known = run_number() || run_text() || run_container() || run_filling() ||
                         run_stack() || run_memo() || run_object();
      if (!known) refuse_opcode();
    }
    return builder_.finish(stack_.finish(), input_.position());
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    builder_.fail(format, std::forward<Args>(args)...);
  }

  [[noreturn]] void refuse_opcode() const {
    const auto found = static_cast<uint8_t>(opcode_);
    for (const auto& [opcode, name] : kRefusedOpcodes) {
      if (opcode == found) fail("expected what torch.save writes, found opcode {}", name);
    }
    fail("expected a pickle opcode, found 0x{:02x}", found);
  }

  // Opcodes.

  bool run_number() {
    switch (opcode_) {
      case Opcode::kNone:
        stack_.push(builder_.number(PickleKind::kNone));
        return true;
      case Opcode::kNewTrue:
      case Opcode::kNewFalse:
        stack_.push(builder_.number(PickleKind::kBool, opcode_ == Opcode::kNewTrue ? 1 : 0));
        return true;
      case Opcode::kBinInt:
        push_integer(static_cast<int32_t>(input_.load<uint32_t>()));
        return true;
      case Opcode::kBinInt1:
        push_integer(input_.load<uint8_t>());
        return true;
      case Opcode::kBinInt2:
        push_integer(input_.load<uint16_t>());
        return true;
      case Opcode::kLong1:
        push_long(input_.load<uint8_t>());
        return true;
      case Opcode::kLong4:
        push_long(input_.load<uint32_t>());
        return true;
      case Opcode::kBinFloat: {
        uint64_t bits = 0;  // most significant byte first
        for (const std::byte byte : input_.take(8))
          bits = bits << 8 | std::to_integer<uint64_t>(byte);
        push_float(std::bit_cast<double>(bits));
        return true;
      }
      case Opcode::kIntLine:
      case Opcode::kLongLine:
      case Opcode::kFloatLine:
        push_line();
        return true;
      default:
        return false;
    }
  }

  void push_integer(int64_t number) { stack_.push(builder_.number(PickleKind::kInteger, number)); }

  void push_float(double number) {
    stack_.push(builder_.number(PickleKind::kFloat, std::bit_cast<int64_t>(number)));
  }

  // Two's complement of any number of bytes.
  void push_long(uint32_t count) {
    const auto bytes = input_.take(count);
    if (count > 8) {
      stack_.push(builder_.text(PickleKind::kBigInteger, input_.position() - count, count));
      return;
    }
    const bool is_negative = count > 0 && (bytes.back() & std::byte{0x80}) != std::byte{0};
    uint64_t number = is_negative ? ~uint64_t{0} : 0;
    for (size_t i = count; i-- > 0;) number = number << 8 | std::to_integer<uint64_t>(bytes[i]);
    push_integer(std::bit_cast<int64_t>(number));
  }

  // Numbers as protocol 1 still writes them: I01, L123L, F1.5.
  void push_line() {
    std::string_view line = input_.take_line();
    if (opcode_ == Opcode::kIntLine && (line == "01" || line == "00")) {
      stack_.push(builder_.number(PickleKind::kBool, line == "01" ? 1 : 0));
      return;
    }
    if (opcode_ == Opcode::kLongLine) return push_long_line(line);
    const auto parse = [&](auto number) {
      const char* end = line.data() + line.size();
      const auto [rest, error] = std::from_chars(line.data(), end, number);
      if (error != std::errc() || rest != end) {
        fail("expected a number of 64 bits, found {}", printable(line));
      }
      return number;
    };
    if (opcode_ == Opcode::kFloatLine) {
      push_float(parse(double{}));
    } else {
      push_integer(parse(int64_t{}));
    }
  }

  void push_long_line(std::string_view line) {
    const uint64_t first = input_.position() - 1 - line.size();
    if (line.ends_with('L')) line.remove_suffix(1);
    int64_t number = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), number);
    const bool is_number =
        error != std::errc::invalid_argument && rest == line.data() + line.size();
    if (!is_number) fail("expected an integer, found {}", printable(line));
    if (error == std::errc()) return push_integer(number);
    stack_.push(builder_.text(PickleKind::kBigInteger, first, line.size()));
  }

  void push_text(PickleKind kind, uint64_t count) {
    input_.take(count);
    stack_.push(builder_.text(kind, input_.position() - count, count));
  }

  bool run_text() {
    switch (opcode_) {
      case Opcode::kShortBinUnicode:
      case Opcode::kShortBinString:
        push_text(PickleKind::kText, input_.load<uint8_t>());
        return true;
      case Opcode::kBinUnicode:
      case Opcode::kBinString:
        push_text(PickleKind::kText, input_.load<uint32_t>());
        return true;
      case Opcode::kBinUnicode8:
        push_text(PickleKind::kText, input_.load<uint64_t>());
        return true;
      case Opcode::kShortBinBytes:
        push_text(PickleKind::kBytes, input_.load<uint8_t>());
        return true;
      case Opcode::kBinBytes:
        push_text(PickleKind::kBytes, input_.load<uint32_t>());
        return true;
      case Opcode::kBinBytes8:
      case Opcode::kByteArray8:
        push_text(PickleKind::kBytes, input_.load<uint64_t>());
        return true;
      default:
        return false;
    }
  }

  void push_short_tuple(size_t count) {
    std::vector<uint32_t> values(count);
    for (size_t i = count; i-- > 0;) values[i] = stack_.pop("the values of a tuple");
    stack_.push(builder_.tuple(values));
  }

  // A container of what stands above the mark.
  void push_filled(PickleKind kind) {
    const std::vector<uint32_t> values = stack_.pop_to_mark();
    const uint32_t container = builder_.container(kind);
    stack_.push(container);
    if (kind == PickleKind::kDict) {
      builder_.add_pairs(container, values);
    } else {
      builder_.add_elements(container, kind, values);
    }
  }

  bool run_container() {
    switch (opcode_) {
      case Opcode::kEmptyTuple:
        stack_.push(builder_.tuple({}));
        return true;
      case Opcode::kTuple:
        stack_.push(builder_.tuple(stack_.pop_to_mark()));
        return true;
      case Opcode::kTuple1:
        push_short_tuple(1);
        return true;
      case Opcode::kTuple2:
        push_short_tuple(2);
        return true;
      case Opcode::kTuple3:
        push_short_tuple(3);
        return true;
      case Opcode::kEmptyList:
        stack_.push(builder_.container(PickleKind::kList));
        return true;
      case Opcode::kEmptySet:
        stack_.push(builder_.container(PickleKind::kSet));
        return true;
      case Opcode::kEmptyDict:
        stack_.push(builder_.container(PickleKind::kDict));
        return true;
      case Opcode::kList:
        push_filled(PickleKind::kList);
        return true;
      case Opcode::kFrozenSet:
        push_filled(PickleKind::kSet);
        return true;
      case Opcode::kDict:
        push_filled(PickleKind::kDict);
        return true;
      default:
        return false;
    }
  }

  bool run_filling() {
    switch (opcode_) {
      case Opcode::kAppend: {
        const std::array<uint32_t, 1> element = {stack_.pop("a value")};
        builder_.add_elements(stack_.top("a list"), PickleKind::kList, element);
        return true;
      }
      case Opcode::kAppends:
      case Opcode::kAddItems: {
        const std::vector<uint32_t> values = stack_.pop_to_mark();
        const PickleKind kind = opcode_ == Opcode::kAppends ? PickleKind::kList : PickleKind::kSet;
        builder_.add_elements(stack_.top("a list or set"), kind, values);
        return true;
      }
      case Opcode::kSetItem: {
        const uint32_t element = stack_.pop("a value");
        const uint32_t key = stack_.pop("a key");
        builder_.add_pairs(stack_.top("a dict"), std::array{key, element});
        return true;
      }
      case Opcode::kSetItems: {
        const std::vector<uint32_t> values = stack_.pop_to_mark();
        builder_.add_pairs(stack_.top("a dict"), values);
        return true;
      }
      default:
        return false;
    }
  }

  bool run_stack() {
    switch (opcode_) {
      case Opcode::kMark:
        stack_.mark();
        return true;
      case Opcode::kPop:
        stack_.discard();
        return true;
      case Opcode::kPopMark:
        stack_.pop_to_mark();
        return true;
      case Opcode::kDup:
        stack_.push(stack_.top("a value"));
        return true;
      case Opcode::kProto:
        run_protocol();
        return true;
      case Opcode::kFrame:
        run_frame();
        return true;
      default:
        return false;
    }
  }

  void run_protocol() {
    if (begin_ != 0) fail("expected opcode PROTO at the beginning alone");
    const auto protocol = input_.load<uint8_t>();
    if (protocol > kLastProtocol) {
      fail("expected a pickle of protocol {} at most, found {}", kLastProtocol, protocol);
    }
  }

  // Frames only say how much to read at once.
  void run_frame() {
    const auto length = input_.load<uint64_t>();
    if (length > input_.remaining()) {
      fail("expected a frame of at most {} bytes, found {}", input_.remaining(), length);
    }
  }

  bool run_memo() {
    switch (opcode_) {
      case Opcode::kBinPut:
        stack_.put(input_.load<uint8_t>());
        return true;
      case Opcode::kLongBinPut:
        stack_.put(input_.load<uint32_t>());
        return true;
      case Opcode::kMemoize:
        stack_.memoize();
        return true;
      case Opcode::kBinGet:
        stack_.get(input_.load<uint8_t>());
        return true;
      case Opcode::kLongBinGet:
        stack_.get(input_.load<uint32_t>());
        return true;
      default:
        return false;
    }
  }

  void check_global(std::string_view module, std::string_view name) const {
    if (is_name(module) && is_name(name)) return;
    fail("expected the name of a class or function, found {} and {}",
         printable(module),
         printable(name));
  }

  void push_global() {
    const uint64_t first = input_.position();
    const std::string_view module = input_.take_line();
    const std::string_view name = input_.take_line();
    check_global(module, name);
    stack_.push(builder_.text(PickleKind::kGlobal, first, input_.position() - 1 - first));
  }

  void push_stack_global() {
    const uint32_t name = stack_.pop(PickleKind::kText, "a name");
    const uint32_t module = stack_.pop(PickleKind::kText, "the name of a module");
    check_global(builder_.value(module).text(), builder_.value(name).text());
    stack_.push(builder_.global(module, name));
  }

  void push_call() {
    const uint32_t arguments = stack_.pop(PickleKind::kTuple, "a tuple of arguments");
    const uint32_t callee = stack_.pop("a class or function");
    stack_.push(builder_.call(callee, arguments));
  }

  bool run_object() {
    switch (opcode_) {
      case Opcode::kGlobal:
        push_global();
        return true;
      case Opcode::kStackGlobal:
        push_stack_global();
        return true;
      case Opcode::kReduce:
      case Opcode::kNewObj:
        push_call();
        return true;
      case Opcode::kNewObjEx:
        stack_.pop(PickleKind::kDict, "a dict of arguments");
        push_call();
        return true;
      case Opcode::kBuild: {
        const uint32_t state = stack_.pop("the state of an object");
        builder_.set_state(stack_.top("an object"), state);
        return true;
      }
      case Opcode::kBinPersid:
        stack_.push(builder_.persistent(stack_.pop("a reference")));
        return true;
      default:
        return false;
    }
  }

  PickleBuilder builder_;
  PickleInput input_;
  PickleStack stack_;
  uint64_t begin_ = 0;  // of the opcode
  Opcode opcode_ = Opcode::kStop;
};

}  // namespace

Pickle Pickle::parse(std::span<const std::byte> bytes, const std::string& place) {
  if (bytes.size() > kMaxBytes) {
    base::bad_input("{}: byte 0: expected a pickle of at most {} bytes, found {}",
                    place,
                    kMaxBytes,
                    bytes.size());
  }
  // A copy: names that are checked now are used later, when a mapped file may have changed.
  std::vector<std::byte> own(bytes.begin(), bytes.end());
  Pickle pickle = PickleMachine(own, place).run();
  own.resize(pickle.size());
  own.shrink_to_fit();
  pickle.own_ = std::move(own);
  pickle.bytes_ = pickle.own_;
  return pickle;
}

}  // namespace ditmoe::formats
