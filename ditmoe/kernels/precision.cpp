#include "ditmoe/kernels/precision.h"

#include <array>
#include <utility>

#include "ditmoe/base/error.h"

namespace ditmoe::kernels {
namespace {

constexpr std::array<std::pair<Precision, std::string_view>, 3> kWords = {{
    {Precision::kF32, "f32"},
    {Precision::kBf16, "bf16"},
    {Precision::kInt8, "int8"},
}};

}  // namespace

std::string_view to_word(Precision precision) {
  for (const auto& [known, word] : kWords) {
    if (known == precision) return word;
  }
  DITMOE_ASSERT(false);
}

Precision precision_from(std::string_view word, const std::string& what) {
  for (const auto& [precision, known] : kWords) {
    if (known == word) return precision;
  }
  base::bad_input("{}: expected f32, bf16 or int8, found '{}'", what, word);
}

}  // namespace ditmoe::kernels
