#pragma once

#include <string>
#include <vector>

namespace ditmoe::base {

// Brand string of the CPU ("AMD EPYC 9B45"), "unknown CPU" where it does not tell.
std::string cpu_name();

// Whether this CPU has what the whole program is compiled for: x86-64-v3 (AVX2, FMA, BMI2).
bool cpu_is_supported();

// The instruction sets present that some path of this program or of oneDNN makes use of, weakest
// first: "AVX2", "FMA", "AVX512F", "AVX512_VNNI", "AVX512_BF16" ...
std::vector<std::string> cpu_features();

}  // namespace ditmoe::base
