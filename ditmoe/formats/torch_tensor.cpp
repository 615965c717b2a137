#include "ditmoe/formats/torch_tensor.h"

#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::formats {
namespace {

using base::DType;

// Storage classes of module torch and their element types.
constexpr std::array<std::pair<std::string_view, DType>, 10> kStorageTypes = {{
    {"torch.DoubleStorage", DType::kF64},
    {"torch.FloatStorage", DType::kF32},
    {"torch.HalfStorage", DType::kF16},
    {"torch.BFloat16Storage", DType::kBF16},
    {"torch.LongStorage", DType::kI64},
    {"torch.IntStorage", DType::kI32},
    {"torch.ShortStorage", DType::kI16},
    {"torch.CharStorage", DType::kI8},
    {"torch.ByteStorage", DType::kU8},
    {"torch.BoolStorage", DType::kBool},
}};

// Those whose tensors are not read, and bytes of an element.
constexpr std::array<std::pair<std::string_view, size_t>, 6> kOtherStorages = {{
    {"torch.ComplexHalfStorage", 4},
    {"torch.ComplexFloatStorage", 8},
    {"torch.ComplexDoubleStorage", 16},
    {"torch.QInt8Storage", 1},
    {"torch.QUInt8Storage", 1},
    {"torch.QInt32Storage", 4},
}};

constexpr size_t kLegacyParts = 6;  // of a reference to a storage

constexpr std::string_view kPlain = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kParameterWithState = "torch._utils._rebuild_parameter_with_state";

std::optional<DType> storage_dtype(std::string_view name) {
  for (const auto& [known, dtype] : kStorageTypes) {
    if (known == name) return dtype;
  }
  return std::nullopt;
}

std::optional<size_t> storage_width(std::string_view name) {
  if (const auto dtype = storage_dtype(name)) return base::size_of(*dtype);
  for (const auto& [known, bytes] : kOtherStorages) {
    if (known == name) return bytes;
  }
  return std::nullopt;
}

class TensorReader {
 public:
  TensorReader(const std::string& name, const TorchArchive& archive)
      : name_(name), archive_(archive) {}

  // A parameter is a tensor with two more attributes.
  TorchTensor read(const PickleValue& value) const {
    const std::string callee = check_made(value);
    if (callee != kParameter && callee != kParameterWithState) return read_plain(value);
    const bool with_state = callee == kParameterWithState;
    const std::vector<PickleValue> arguments = arguments_of(value, with_state ? 4 : 3, 4);
    expect(arguments[1], PickleKind::kBool, "whether a gradient is wanted");
    check_hooks(arguments[2]);
    check_made(arguments[0]);
    return read_plain(arguments[0]);
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(const PickleValue& at,
                         fmt::format_string<Args...> format,
                         Args&&... args) const {
    base::bad_input("{}: tensor {}: {} byte {}: {}",
                    archive_.path,
                    printable(name_),
                    archive_.pickle_name,
                    at.byte(),
                    fmt::format(format, std::forward<Args>(args)...));
  }

  void expect(const PickleValue& value, PickleKind kind, const char* what) const {
    if (!value.is(kind)) fail(value, "expected {}, found {}", what, value.describe());
  }

  // An object without anything done to it after it was made; returns by what.
  std::string check_made(const PickleValue& value) const {
    expect(value, PickleKind::kObject, "a tensor");
    if (value.has_state() || value.has_items()) {
      fail(value, "expected a plain tensor, found one with attributes or items of its own");
    }
    return value.callee();
  }

  std::vector<PickleValue> arguments_of(const PickleValue& value, size_t least, size_t most) const {
    const PickleValue arguments = value.arguments();
    if (arguments.size() < least || arguments.size() > most) {
      fail(arguments,
           "expected {} to {} arguments of {}, found {}",
           least,
           most,
           value.callee(),
           arguments.size());
    }
    return arguments.items();
  }

  void check_hooks(const PickleValue& hooks) const {
    if (hooks.is(PickleKind::kNone)) return;
    expect(hooks, PickleKind::kDict, "a dict of hooks");
    if (hooks.size() > 0) fail(hooks, "expected no hooks, found {}", hooks.size());
  }

  TorchTensor read_plain(const PickleValue& value) const {
    if (value.callee() != kPlain) {
      fail(value, "expected one made by {}, found one by {}", kPlain, printable(value.callee()));
    }
    const std::vector<PickleValue> arguments = arguments_of(value, 6, 7);
    TorchTensor tensor;
    const std::span<const std::byte> storage = read_storage(arguments[0], tensor.dtype);
    const uint64_t first = natural(arguments[1], "an offset");
    tensor.shape = read_numbers(arguments[2], "a size");
    tensor.strides = read_numbers(arguments[3], "a stride");
    if (tensor.strides.size() != tensor.shape.size()) {
      fail(arguments[3],
           "expected {} strides, found {}",
           tensor.shape.size(),
           tensor.strides.size());
    }
    expect(arguments[4], PickleKind::kBool, "whether a gradient is wanted");
    check_hooks(arguments[5]);
    if (arguments.size() == 7 && !arguments[6].is(PickleKind::kNone)) check_lazy(arguments[6]);
    place(arguments[1], first, storage, tensor);
    return tensor;
  }

  // Whether the values are to be negated or conjugated when they are looked at: {"neg": True}.
  void check_lazy(const PickleValue& value) const {
    expect(value, PickleKind::kDict, "a dict of attributes");
    if (value.size() > 0) {
      fail(value, "expected values as they are stored, found {} to apply", value.size());
    }
  }

  // ("storage", class, name, device, elements); before version 1.6 also None, or a part of it.
  std::span<const std::byte> read_storage(const PickleValue& value, DType& dtype) const {
    expect(value, PickleKind::kPersistent, "a storage");
    const PickleValue reference = value.arguments();
    expect(reference, PickleKind::kTuple, "a tuple that names a storage");
    if (reference.size() < kLegacyParts - 1 || reference.size() > kLegacyParts) {
      fail(reference, "expected a storage of 5 or 6 parts, found {}", reference.size());
    }
    const std::vector<PickleValue> parts = reference.items();
    expect(parts[0], PickleKind::kText, "the word storage");
    if (parts[0].text() != "storage") {
      fail(parts[0], "expected the word storage, found {}", printable(parts[0].text()));
    }
    expect(parts[1], PickleKind::kGlobal, "the class of a storage");
    const auto known = storage_dtype(parts[1].global());
    if (!known) {
      fail(parts[1],
           "expected a storage of f64, f32, f16, bf16, i64, i32, i16, i8, u8 or bool, found {}",
           printable(parts[1].global()));
    }
    dtype = *known;
    expect(parts[2], PickleKind::kText, "the name of a storage");
    expect(parts[3], PickleKind::kText, "the name of a device");
    const uint64_t elements = natural(parts[4], "a number of elements");
    if (parts.size() == kLegacyParts) expect(parts[5], PickleKind::kNone, "no view of a storage");
    return find_storage(parts[2], elements, dtype);
  }

  std::span<const std::byte> find_storage(const PickleValue& key,
                                          uint64_t elements,
                                          DType dtype) const {
    const auto found = archive_.storages.find(key.text());
    if (found == archive_.storages.end()) {
      fail(key, "expected a storage {}, found none in the file", printable(key.text()));
    }
    const std::span<const std::byte> bytes = found->second;
    // A storage of bytes, looked at as larger elements, may have a rest.
    const size_t size = base::size_of(dtype);
    if (elements > bytes.size() / size || bytes.size() - elements * size >= size) {
      fail(key,
           "expected a storage of {} elements {}, found {} bytes in the file",
           elements,
           base::name_of(dtype),
           bytes.size());
    }
    return bytes;
  }

  uint64_t natural(const PickleValue& value, const char* what) const {
    expect(value, PickleKind::kInteger, what);
    if (value.integer() < 0)
      fail(value, "expected {} of 0 or more, found {}", what, value.integer());
    return static_cast<uint64_t>(value.integer());
  }

  base::Shape read_numbers(const PickleValue& value, const char* what) const {
    // torch.Size is a tuple that calls itself so.
    const bool is_size = value.is(PickleKind::kObject) && value.callee() == "torch.Size" &&
                         value.arguments().size() == 1;
    const PickleValue numbers = is_size ? value.arguments().items()[0] : value;
    expect(numbers, PickleKind::kTuple, "a tuple of integers");
    if (numbers.size() > kMaxRank) {
      fail(numbers, "expected at most {} dimensions, found {}", kMaxRank, numbers.size());
    }
    base::Shape result;
    for (const PickleValue& number : numbers.items()) {
      result.push_back(static_cast<int64_t>(natural(number, what)));
    }
    return result;
  }

  // Checks that all elements lie within the storage and points to the first.
  void place(const PickleValue& at,
             uint64_t first,
             std::span<const std::byte> storage,
             TorchTensor& tensor) const {
    const size_t element_bytes = base::size_of(tensor.dtype);
    const uint64_t elements = storage.size() / element_bytes;
    const auto bytes = tensor_bytes(tensor.shape, tensor.dtype);
    if (!bytes) fail(at, "expected less than 2^63 bytes, found {}", base::to_string(tensor.shape));
    tensor.bytes = *bytes;
    uint64_t last = first;
    bool overflows = false;
    uint64_t dense = 1;  // stride of a row-major tensor
    for (size_t i = tensor.shape.size(); i-- > 0;) {
      if (tensor.bytes == 0) break;
      const auto size = static_cast<uint64_t>(tensor.shape[i]);
      const auto stride = static_cast<uint64_t>(tensor.strides[i]);
      uint64_t reach = 0;
      overflows |= __builtin_mul_overflow(size - 1, stride, &reach);
      overflows |= __builtin_add_overflow(last, reach, &last);
      if (size != 1 && stride != dense) tensor.is_contiguous = false;
      dense *= size;
    }
    const bool fits = tensor.bytes == 0 ? first <= elements : !overflows && last < elements;
    if (!fits) {
      fail(at,
           "expected elements within a storage of {}, found offset {}, size {}, strides {}",
           elements,
           first,
           base::to_string(tensor.shape),
           base::to_string(tensor.strides));
    }
    tensor.data = storage.data() + first * element_bytes;
  }

  const std::string& name_;
  const TorchArchive& archive_;
};

}  // namespace

bool is_torch_tensor(const PickleValue& value) {
  return value.is(PickleKind::kObject) && value.callee().starts_with("torch._");
}

std::map<std::string_view, size_t> torch_storage_widths(const Pickle& pickle) {
  std::map<std::string_view, size_t> widths;
  for (const PickleValue& persistent : pickle.all(PickleKind::kPersistent)) {
    const PickleValue reference = persistent.arguments();
    if (!reference.is(PickleKind::kTuple) || reference.size() != kLegacyParts) continue;
    const std::vector<PickleValue> parts = reference.items();
    if (!parts[1].is(PickleKind::kGlobal) || !parts[2].is(PickleKind::kText)) continue;
    const auto width = storage_width(parts[1].global());
    if (width) widths.emplace(parts[2].text(), *width);
  }
  return widths;
}

TorchTensor read_torch_tensor(const PickleValue& value,
                              const std::string& name,
                              const TorchArchive& archive) {
  return TensorReader(name, archive).read(value);
}

void gather(const TorchTensor& tensor, std::byte* dst) {
  if (tensor.bytes == 0) return;
  const size_t element_bytes = base::size_of(tensor.dtype);
  const uint64_t count = tensor.bytes / element_bytes;
  base::Shape index(tensor.shape.size(), 0);
  uint64_t position = 0;  // in elements; wraps on the way where a stride is never walked
  for (uint64_t i = 0; i < count; ++i) {
    std::memcpy(dst + i * element_bytes, tensor.data + position * element_bytes, element_bytes);
    for (size_t axis = index.size(); axis-- > 0;) {
      const auto stride = static_cast<uint64_t>(tensor.strides[axis]);
      position += stride;
      if (++index[axis] < tensor.shape[axis]) break;
      position -= stride * static_cast<uint64_t>(tensor.shape[axis]);
      index[axis] = 0;
    }
  }
}

}  // namespace ditmoe::formats
