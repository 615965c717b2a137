#pragma once

#include <string>

#include <gtest/gtest.h>

#include "ditmoe/base/cpu.h"

namespace ditmoe::tests {

// A test that runs once on each level of instruction sets, and is skipped on those above the CPU's
// or the one that DITMOE_FORCE_ISA names.
class IsaTest : public ::testing::TestWithParam<base::Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > base::chosen_isa()) GTEST_SKIP() << "not on this CPU";
  }
};

inline auto isa_levels() {
  using base::Isa;
  return ::testing::Values(Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16);
}

inline std::string isa_level_name(const ::testing::TestParamInfo<base::Isa>& info) {
  return std::string(name_of(info.param));
}

}  // namespace ditmoe::tests
