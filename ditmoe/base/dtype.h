#pragma once

#include <bit>
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

// Conversions round to nearest, ties to even; NaN stays NaN, overflow becomes infinity. Those that
// files are read by are inline and without branches, so that loops of them vectorise.
inline float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

inline BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  return {static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40 : rounded)};
}

// The half's exponent and mantissa as a float's are the value times 2^-112, subnormals included.
inline float to_float(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7FFF) << 13;
  const auto scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
  const uint32_t special = magnitude >= 0x0F800000 ? 0x7F800000 : 0;  // infinity or NaN
  return std::bit_cast<float>(sign | scaled | special);
}

Half to_half(float value);

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
