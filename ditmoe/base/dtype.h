#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ditmoe::base {

// Element types of tensors in memory and in files.
enum class DType : uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

// Bytes of one element.
size_t size_of(DType dtype);

// The safetensors spelling: "F32", "BF16", "I64", "BOOL" ...
std::string_view name_of(DType dtype);

// Inverse of name_of; nullopt for an unknown spelling.
std::optional<DType> dtype_from_name(std::string_view name);

// Storage types of 16-bit floats: bits only, arithmetic is done in float.
struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

// Conversions round to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
float to_float(Half value);
float to_float(BFloat16 value);
Half to_half(float value);
BFloat16 to_bfloat16(float value);

template <typename T>
struct DTypeOf;

template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};

template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};

template <>
struct DTypeOf<Half> {
  static constexpr DType value = DType::kF16;
};

template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBF16;
};

template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};

template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};

template <>
struct DTypeOf<int16_t> {
  static constexpr DType value = DType::kI16;
};

template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};

template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};

template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::kBool;
};

}  // namespace ditmoe::base
