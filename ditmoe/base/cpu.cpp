#include "ditmoe/base/cpu.h"

#include <array>
#include <cpuid.h>
#include <cstring>

namespace ditmoe::base {

std::string cpu_name() {
  // CPUID leaves 0x80000002-4 hold the 48 characters of the brand string.
  constexpr unsigned kFirstLeaf = 0x80000002;
  std::array<char, 49> brand{};
  for (unsigned part = 0; part < 3; ++part) {
    std::array<unsigned, 4> words{};
    if (__get_cpuid(kFirstLeaf + part, &words[0], &words[1], &words[2], &words[3]) == 0) {
      return "unknown CPU";
    }
    std::memcpy(brand.data() + 16 * part, words.data(), 16);
  }
  const std::string name(brand.data());
  const size_t first = name.find_first_not_of(' ');
  if (first == std::string::npos) return "unknown CPU";
  return name.substr(first, name.find_last_not_of(' ') - first + 1);
}

bool cpu_is_supported() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2");
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
  const auto add = [&features](int present, const char* name) {
    if (present != 0) features.emplace_back(name);
  };
  add(__builtin_cpu_supports("avx2"), "AVX2");
  add(__builtin_cpu_supports("fma"), "FMA");
  add(__builtin_cpu_supports("avx512f"), "AVX512F");
  add(__builtin_cpu_supports("avx512bw"), "AVX512BW");
  add(__builtin_cpu_supports("avx512vl"), "AVX512VL");
  add(__builtin_cpu_supports("avx512dq"), "AVX512DQ");
  add(__builtin_cpu_supports("avx512vnni"), "AVX512_VNNI");
  add(__builtin_cpu_supports("avx512bf16"), "AVX512_BF16");
  return features;
}

}  // namespace ditmoe::base
