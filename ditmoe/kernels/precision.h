#pragma once

#include <string>
#include <string_view>

namespace ditmoe::kernels {

// In which type a network's large products are computed. Sums are f32 (int8: exact in 32 bits);
// routers, norms, softmax and residuals are f32 in all of them.
enum class Precision {
  kF32,
  kBf16,  // weights and activations in bfloat16
  kInt8,  // weights in 8 bits with a scale per output, activations in 8 bits with a scale per row
};

// "f32", "bf16", "int8".
std::string_view to_word(Precision precision);

// Inverse of to_word. Throws bad_input naming `what` for any other word.
Precision precision_from(std::string_view word, const std::string& what);

}  // namespace ditmoe::kernels
