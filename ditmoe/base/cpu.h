#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ditmoe::base {

// Brand string of the CPU ("AMD EPYC 9B45"), "unknown CPU" where it does not tell.
std::string cpu_name();

// Whether this CPU has what the whole program is compiled for: x86-64-v3 (AVX2, FMA, BMI2).
bool cpu_is_supported();

// The instruction sets present that some path of this program or of oneDNN makes use of, weakest
// first: "AVX2", "FMA", "AVX512F", "AVX512_VNNI", "AVX512_BF16" ...
std::vector<std::string> cpu_features();

// Levels of instruction sets that paths of this program are written for, each including those
// before it.
enum class Isa {
  kAvx2,        // plain loops compiled for x86-64-v3: what every supported CPU runs
  kAvx512,      // x86-64-v4
  kAvx512Vnni,  // and products of 8-bit integers
  kAvx512Bf16,  // and products of bfloat16
};

// "avx2", "avx512", "avx512_vnni", "avx512_bf16".
std::string_view name_of(Isa isa);

// The highest level of this CPU.
Isa cpu_isa();

// The level to use: the CPU's, or a lower one named by the environment variable DITMOE_FORCE_ISA
// ("generic" is "avx2"). Read once. Throws bad_input for an unknown name or what the CPU lacks.
Isa chosen_isa();

}  // namespace ditmoe::base
