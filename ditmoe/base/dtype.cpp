#include "ditmoe/base/dtype.h"

#include <array>
#include <bit>
#include <cmath>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

struct DTypeInfo {
  DType dtype;
  size_t bytes;
  std::string_view name;
};

constexpr std::array<DTypeInfo, 10> kInfos = {{
    {DType::kF64, 8, "F64"},
    {DType::kF32, 4, "F32"},
    {DType::kF16, 2, "F16"},
    {DType::kBF16, 2, "BF16"},
    {DType::kI64, 8, "I64"},
    {DType::kI32, 4, "I32"},
    {DType::kI16, 2, "I16"},
    {DType::kI8, 1, "I8"},
    {DType::kU8, 1, "U8"},
    {DType::kBool, 1, "BOOL"},
}};

const DTypeInfo& info(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  DITMOE_ASSERT(index < kInfos.size() && kInfos[index].dtype == dtype);
  return kInfos[index];
}

}  // namespace

size_t size_of(DType dtype) { return info(dtype).bytes; }

std::string_view name_of(DType dtype) { return info(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& candidate : kInfos) {
    if (candidate.name == name) return candidate.dtype;
  }
  return std::nullopt;
}

Half to_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  if (std::isnan(value)) return {static_cast<uint16_t>(sign | 0x7E00)};
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0F) return {static_cast<uint16_t>(sign | 0x7C00)};
  if (magnitude < 6.103515625e-05F) {  // subnormal half: a multiple of 2^-24
    const auto multiple = static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
    return {static_cast<uint16_t>(sign | multiple)};
  }
  const uint32_t rebased = (bits & 0x7FFFFFFF) - (112U << 23);
  const uint32_t rounding = 0xFFF + ((rebased >> 13) & 1);
  return {static_cast<uint16_t>(sign | ((rebased + rounding) >> 13))};
}

}  // namespace ditmoe::base
