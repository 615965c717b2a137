// One MoE layer without its router: sizes, weights, inputs and choices, and its plain definition.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ditmoe::peers {

// N tokens, D width, E experts, K choices a token, F expert width, S width of the shared expert.
struct MoeSizes {
  int64_t tokens = 0;
  int64_t width = 0;
  int64_t experts = 0;
  int64_t top_k = 0;
  int64_t expert_width = 0;
  int64_t shared_width = 0;
  int64_t depth = 0;  // layers of the preset

  // Of the products alone, multiplication and addition counted as two.
  double flop() const;
};

// "S/2-8E2A" and the like at 256 x 256, two shared experts; throws std::runtime_error otherwise.
MoeSizes sizes_of(const std::string& preset, int64_t batch);

// out_ND = sum over k of weight_NK * down_e(silu(gate_e(x)) * up_e(x)) + shared(x), e = choice_NK
struct MoeProblem {
  MoeSizes sizes;
  std::vector<float> x_ND;
  std::vector<int32_t> choice_NK;  // distinct within a token, each expert equally likely
  std::vector<float> weight_NK;
  std::vector<float> gate_EFD, up_EFD, down_EDF;
  std::vector<float> shared_gate_SD, shared_up_SD, shared_down_DS;
};

// The same numbers for the same sizes, on every machine.
MoeProblem make_problem(const MoeSizes& sizes);

// Row of the output for one token, by the definition, in double.
std::vector<double> reference_row(const MoeProblem& problem, int64_t token);

// Number of choices of each expert.
std::vector<int64_t> expert_counts(const MoeProblem& problem);

}  // namespace ditmoe::peers
