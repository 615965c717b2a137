#include "ditmoe/base/cpu.h"

#include <array>
#include <cpuid.h>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

constexpr std::array<std::pair<Isa, std::string_view>, 4> kIsaNames = {{
    {Isa::kAvx2, "avx2"},
    {Isa::kAvx512, "avx512"},
    {Isa::kAvx512Vnni, "avx512_vnni"},
    {Isa::kAvx512Bf16, "avx512_bf16"},
}};

constexpr const char* kForceIsa = "DITMOE_FORCE_ISA";

Isa isa_from(std::string_view word) {
  if (word == "generic") return Isa::kAvx2;
  for (const auto& [isa, name] : kIsaNames) {
    if (name == word) return isa;
  }
  bad_input("{}: expected generic, avx2, avx512, avx512_vnni or avx512_bf16, found '{}'",
            kForceIsa,
            word);
}

Isa read_chosen_isa() {
  const char* forced = std::getenv(kForceIsa);
  if (forced == nullptr || *forced == '\0') return cpu_isa();
  const Isa isa = isa_from(forced);
  if (isa > cpu_isa()) {
    bad_input("{}: this CPU has {} at most, found '{}'", kForceIsa, name_of(cpu_isa()), forced);
  }
  return isa;
}

}  // namespace

std::string_view name_of(Isa isa) {
  for (const auto& [known, name] : kIsaNames) {
    if (known == isa) return name;
  }
  DITMOE_ASSERT(false);
}

Isa cpu_isa() {
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512cd");
  if (!v4) return Isa::kAvx2;
  if (!__builtin_cpu_supports("avx512vnni")) return Isa::kAvx512;
  return __builtin_cpu_supports("avx512bf16") ? Isa::kAvx512Bf16 : Isa::kAvx512Vnni;
}

Isa chosen_isa() {
  static const Isa chosen = read_chosen_isa();
  return chosen;
}

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
