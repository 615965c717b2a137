#include "ditmoe/networks/shape_table.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string_view>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"

namespace ditmoe::networks {
namespace {

struct Spelling {
  std::string_view foreign;
  std::string_view canonical;
};

constexpr std::array<Spelling, 2> kSpellings = {
    {{".attn.Wqkv.", ".attn.qkv."}, {".attn.out_proj.", ".attn.proj."}}};

void replace(std::string& name, std::string_view from, std::string_view to) {
  const size_t found = name.find(from);
  if (found != std::string::npos) name.replace(found, from.size(), to);
}

}  // namespace

std::string canonical_name(std::string name_in_file) {
  // As wrappers for parallel training, compilation and Lightning call what they wrap, in any order.
  constexpr std::array<std::string_view, 3> kWrappers = {"module.", "_orig_mod.", "model."};
  const auto wraps = [&name_in_file](std::string_view wrapper) {
    return name_in_file.starts_with(wrapper);
  };
  for (auto found = std::ranges::find_if(kWrappers, wraps); found != kWrappers.end();
       found = std::ranges::find_if(kWrappers, wraps)) {
    name_in_file.erase(0, found->size());
  }
  for (const auto& [foreign, canonical] : kSpellings) replace(name_in_file, foreign, canonical);
  return name_in_file;
}

std::string wqkv_name(std::string canonical_name) {
  for (const auto& [foreign, canonical] : kSpellings) replace(canonical_name, canonical, foreign);
  return canonical_name;
}

void expect_floats(const formats::TensorEntry& entry, const std::string& source) {
  for (const base::DType dtype :
       {base::DType::kF64, base::DType::kF32, base::DType::kF16, base::DType::kBF16}) {
    if (entry.dtype == dtype) return;
  }
  base::bad_input("{}: tensor {}: expected F64, F32, F16 or BF16, found {}",
                  source,
                  formats::printable(entry.name),
                  base::name_of(entry.dtype));
}

void expect_tensors(const ShapeTable& table,
                    std::vector<TensorSpec> specs,
                    base::FunctionRef<bool(const base::Shape&, const base::Shape&)> fits,
                    const std::string& source,
                    const char* owner) {
  std::set<std::string> expected;
  for (TensorSpec& spec : specs) {
    const auto found = table.find(spec.name);
    if (found == table.end()) {
      base::bad_input("{}: expected tensor '{}' {}, found none",
                      source,
                      spec.name,
                      base::to_string(spec.shape));
    }
    if (!fits(found->second.shape, spec.shape)) {
      base::bad_input("{}: tensor '{}': expected shape {}, found {}",
                      source,
                      found->second.name_in_file,
                      base::to_string(spec.shape),
                      base::to_string(found->second.shape));
    }
    expected.insert(std::move(spec.name));
  }
  for (const auto& [name, tensor] : table) {
    if (expected.contains(name)) continue;
    base::bad_input("{}: tensor {} {} is none of this {}'s",
                    source,
                    formats::printable(tensor.name_in_file),
                    base::to_string(tensor.shape),
                    owner);
  }
}

void check_tensors(const DitConfig& config, const ShapeTable& table, const std::string& source) {
  // Listing the tensors of a network that a small hostile file claims to hold could take all
  // memory.
  const bool is_moe = config.feed_forward == FeedForward::kMoe;
  const int64_t tensors_at_least =
      std::max(config.depth, is_moe ? config.depth / 2 * config.experts : 0);
  if (tensors_at_least > static_cast<int64_t>(table.size())) {
    base::bad_input("{}: expected at least {} tensors for a depth of {} and {} experts, found {}",
                    source,
                    tensors_at_least,
                    config.depth,
                    is_moe ? config.experts : 0,
                    table.size());
  }
  expect_tensors(table, tensor_specs(config), std::equal_to<>(), source, "network");
}

}  // namespace ditmoe::networks
