#include "ditmoe/networks/switch_prior.h"

#include <algorithm>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/networks/shape_table.h"

namespace ditmoe::networks {
namespace {

constexpr std::string_view kExperts = "routers.0.experts.w";
constexpr std::string_view kTime = "full_time";
constexpr std::string_view kMapping = "prior._unit_mapping";
constexpr int64_t kSteps = 1000;

const formats::TensorEntry* find(const formats::TensorFile& file, std::string_view canonical) {
  const auto& entries = file.entries();
  const auto found = std::ranges::find_if(entries, [&](const formats::TensorEntry& entry) {
    return canonical_name(entry.name) == canonical;
  });
  return found == entries.end() ? nullptr : &*found;
}

[[noreturn]] void refuse(const formats::TensorFile& file,
                         const formats::TensorEntry& entry,
                         const std::string& expected,
                         const std::string& found) {
  base::bad_input(
      "{}: tensor '{}': expected {}, found {}", file.path(), entry.name, expected, found);
}

// Ones in the first row of the mapping.
int64_t count_ones(const formats::TensorFile& file, const formats::TensorEntry& mapping) {
  const base::TensorView all = file.view(mapping.name);
  const base::Tensor row = base::convert({all.dtype, {all.shape[1]}, all.data}, base::DType::kF32);
  file.expect_whole();
  int64_t ones = 0;
  for (const float value : row.as<float>()) {
    if (value != 0.0f && value != 1.0f)
      refuse(file, mapping, "ones and zeros", fmt::format("{}", value));
    ones += value == 1.0f ? 1 : 0;
  }
  return ones;
}

}  // namespace

bool is_switch_dit(const formats::TensorFile& file) { return find(file, kExperts) != nullptr; }

bool is_prior_buffer(std::string_view canonical_name) {
  return canonical_name == kTime || canonical_name == kMapping;
}

std::map<std::string, std::string> with_prior(const formats::TensorFile& file) {
  std::map<std::string, std::string> told = file.metadata();
  const formats::TensorEntry* experts = find(file, kExperts);
  const formats::TensorEntry* mapping = find(file, kMapping);
  if (experts == nullptr || mapping == nullptr) return told;
  const base::Shape& shape = mapping->shape;
  const int64_t count = experts->shape.empty() ? 0 : experts->shape.front();
  const bool fits =
      count > 0 && shape.size() == 2 && shape[0] == kSteps && shape[1] > 0 && shape[1] % count == 0;
  if (!fits) {
    refuse(file,
           *mapping,
           fmt::format("[{}, a multiple of {}]", kSteps, count),
           base::to_string(shape));
  }
  // The reference rounds depth · K down, once.
  const int64_t depth = shape[1] / count;
  const int64_t ones = count_ones(file, *mapping);
  if (ones > 0) told[kPriorTopK] = std::to_string((ones + depth - 1) / depth);
  return told;
}

}  // namespace ditmoe::networks
