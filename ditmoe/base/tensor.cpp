#include "ditmoe/base/tensor.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include <fmt/ranges.h>

namespace ditmoe::base {
namespace {

constexpr size_t kAlignment = 64;

// Types whose every value is a float.
template <typename T>
constexpr bool kFitsFloat =
    std::is_same_v<T, float> || std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;

// What a conversion goes through: double holds all but 64-bit integers, float is faster.
template <typename From, typename To>
using Through = std::conditional_t<kFitsFloat<From> && kFitsFloat<To>, float, double>;

template <typename T, typename Wide>
Wide load(const std::byte* data, int64_t index) {
  if constexpr (std::is_same_v<T, bool>) return data[index] == std::byte{0} ? Wide{0} : Wide{1};
  T value;
  std::memcpy(&value, data + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
    return to_float(value);
  } else {
    return static_cast<Wide>(value);
  }
}

// Integers truncate and saturate, NaN becomes 0: a cast out of range would be undefined.
template <typename T, typename Wide>
T narrow(Wide value) {
  if constexpr (std::is_same_v<T, Half>) {
    return to_half(static_cast<float>(value));
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return to_bfloat16(static_cast<float>(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value != 0.0;
  } else {
    using Limits = std::numeric_limits<T>;
    if (std::isnan(value)) return 0;
    if (value <= static_cast<double>(Limits::min())) return Limits::min();
    // For 64 bits the limit rounds up to 2^63, hence not ">".
    if (value >= static_cast<double>(Limits::max())) return Limits::max();
    return static_cast<T>(value);
  }
}

// Calls function with a value of the element type of dtype.
template <typename Function>
void with_type(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kF64:
      return function(double{});
    case DType::kF32:
      return function(float{});
    case DType::kF16:
      return function(Half{});
    case DType::kBF16:
      return function(BFloat16{});
    case DType::kI64:
      return function(int64_t{});
    case DType::kI32:
      return function(int32_t{});
    case DType::kI16:
      return function(int16_t{});
    case DType::kI8:
      return function(int8_t{});
    case DType::kU8:
      return function(uint8_t{});
    case DType::kBool:
      return function(bool{});
  }
}

}  // namespace

int64_t num_elements(const Shape& shape) {
  int64_t product = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0)
      bad_input("shape {}: expected no negative dimension, found {}", to_string(shape), dim);
    if (dim == 0) {
      empty = true;
      continue;
    }
    if (product > std::numeric_limits<int64_t>::max() / dim) {
      bad_input("shape {}: the number of elements overflows 64 bits", to_string(shape));
    }
    product *= dim;
  }
  return empty ? 0 : product;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Tensor::Tensor(DType dtype, Shape shape) {
  view_ = {dtype, std::move(shape), nullptr};
  const size_t rounded = (view_.bytes() + kAlignment) / kAlignment * kAlignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (memory == nullptr) failure("out of memory: {} bytes for a tensor", rounded);
  std::memset(memory, 0, rounded);
  data_.reset(memory);
  view_.data = memory;
}

Tensor Tensor::from(Shape shape, std::span<const float> values) {
  Tensor result(DType::kF32, std::move(shape));
  DITMOE_ASSERT(static_cast<size_t>(result.size()) == values.size());
  if (!values.empty()) std::memcpy(result.data(), values.data(), values.size_bytes());
  return result;
}

Tensor Tensor::clone() const {
  Tensor copy(dtype(), shape());
  if (bytes() > 0) std::memcpy(copy.data(), view_.data, bytes());
  return copy;
}

void Tensor::Free::operator()(std::byte* data) const { std::free(data); }

Tensor convert(const TensorView& src, DType dtype) {
  Tensor dst(dtype, src.shape);
  convert_into(src, dtype, dst.data());
  return dst;
}

void convert_into(const TensorView& src, DType dtype, std::byte* dst) {
  const int64_t size = src.size();
  if (size == 0) return;  // memcpy may not have the null that data may be
  if (src.dtype == dtype) {
    std::memcpy(dst, src.data, src.bytes());
    return;
  }
  with_type(src.dtype, [&](auto from) {
    with_type(dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      using Wide = Through<From, To>;
      for (int64_t i = 0; i < size; ++i) {
        const To value = narrow<To>(load<From, Wide>(src.data, i));
        std::memcpy(dst + static_cast<size_t>(i) * sizeof(To), &value, sizeof(To));
      }
    });
  });
}

}  // namespace ditmoe::base
