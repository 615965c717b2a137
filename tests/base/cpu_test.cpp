#include "ditmoe/base/cpu.h"

#include <cstdio>
#include <cstdlib>
#include <gmock/gmock.h>
#include <string>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

using ::testing::ExitedWithCode;

constexpr Isa kLevels[] = {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16};

// Says what is chosen under DITMOE_FORCE_ISA and ends the process, since the variable is read once:
// with 0, or with 2 for bad input.
[[noreturn]] void choose(const std::string& forced) {
  setenv("DITMOE_FORCE_ISA", forced.c_str(), 1);
  try {
    const std::string name(name_of(chosen_isa()));
    setenv("DITMOE_FORCE_ISA", "nothing", 1);
    std::fprintf(stderr, "%s\n", name_of(chosen_isa()) == name ? name.c_str() : "read twice");
    std::exit(0);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::exit(error.kind() == ErrorKind::kBadInput ? 2 : 1);
  }
}

TEST(CpuTest, LevelsIncludeThoseBefore) {
  EXPECT_LT(Isa::kAvx2, Isa::kAvx512);
  EXPECT_LT(Isa::kAvx512, Isa::kAvx512Vnni);
  EXPECT_LT(Isa::kAvx512Vnni, Isa::kAvx512Bf16);
  EXPECT_THAT(cpu_features(), ::testing::Contains("AVX2"));
}

TEST(CpuDeathTest, EveryLevelOfTheCpuCanBeForced) {
  for (const Isa isa : kLevels) {
    if (isa > cpu_isa()) continue;
    const std::string name(name_of(isa));
    EXPECT_EXIT(choose(name), ExitedWithCode(0), "^" + name + "\n$");
  }
  EXPECT_EXIT(choose("generic"), ExitedWithCode(0), "^avx2\n$");
}

TEST(CpuDeathTest, WithoutTheVariableItIsTheCpus) {
  EXPECT_EXIT(choose(""), ExitedWithCode(0), "^" + std::string(name_of(cpu_isa())) + "\n$");
}

TEST(CpuDeathTest, UnknownNameIsRefusedByTheNameOfTheVariable) {
  for (const std::string name : {"AVX2", "sse4", "avx512_", "avx2 "}) {
    EXPECT_EXIT(choose(name),
                ExitedWithCode(2),
                "^DITMOE_FORCE_ISA: expected generic, avx2, avx512, avx512_vnni or avx512_bf16, "
                "found '" +
                    name + "'\n$");
  }
}

TEST(CpuDeathTest, MoreThanTheCpuHasIsRefused) {
  if (cpu_isa() == Isa::kAvx512Bf16) GTEST_SKIP() << "this CPU has every level";
  EXPECT_EXIT(choose("avx512_bf16"),
              ExitedWithCode(2),
              "^DITMOE_FORCE_ISA: this CPU has " + std::string(name_of(cpu_isa())) + " at most");
}

}  // namespace
}  // namespace ditmoe::base
