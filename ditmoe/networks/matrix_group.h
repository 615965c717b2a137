#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ditmoe/kernels/matmul.h"
#include "ditmoe/networks/dit_config.h"

namespace ditmoe::networks {

// Hidden columns of one chunk: the gate and up values of a 192-row tile are then 2 · 192 · 256 · 4
// B = 393 KB (590 KB with 288 rows), so that they stay in a core's second-level cache, which the
// weights pass through as well, until they are multiplied with each other.
constexpr int64_t kHiddenChunk = 256;

// Weights that become packed matrices together: one weight, or several of one shape of which the
// same rows are multiplied at once (gate and up). Their rows are cut into chunks, one matrix each.
struct MatrixGroup {
  std::string name;                  // of the group in a packed file
  std::vector<std::string> weights;  // canonical names without ".weight"
  bool bias = false;                 // only where there is one weight
  int64_t outputs = 0;               // rows of each weight
  int64_t inputs = 0;
  int64_t chunk = 0;  // rows of each weight per matrix; the last matrix may have fewer
  kernels::Precision precision = kernels::Precision::kF32;
  bool is_by_input = false;  // the file has each matrix transposed, [inputs, chunk]

  // Canonical name of weight i, and of the bias of the only weight.
  std::string weight_name(size_t i) const { return weights[i] + (is_by_input ? ".w" : ".weight"); }

  std::string bias_name() const { return weights.front() + (is_by_input ? ".b" : ".bias"); }

  int64_t count() const { return (outputs + chunk - 1) / chunk; }

  // First row of matrix i, and how many rows of each weight it has.
  int64_t first(int64_t i) const { return i * chunk; }

  int64_t rows(int64_t i) const { return std::min(chunk, outputs - i * chunk); }

  // Outputs of matrix i.
  int64_t matrix_outputs(int64_t i) const { return rows(i) * static_cast<int64_t>(weights.size()); }
};

// The groups of one block, apart from its routed experts'; precision is that of the large products.
struct BlockGroups {
  BlockGroups(const DitConfig& config, int64_t layer, kernels::Precision precision);

  MatrixGroup modulation;
  MatrixGroup qkv;
  MatrixGroup proj;
  std::vector<MatrixGroup> feed_forward;  // gate_up and down, or fc1 and fc2; may be empty
  std::vector<MatrixGroup> time_experts;  // one of a matrix an expert, or none
};

// gate_up and down of one routed expert.
std::vector<MatrixGroup> expert_groups(const DitConfig& config,
                                       int64_t layer,
                                       int64_t expert,
                                       kernels::Precision precision);

// The modulation before the last layer.
MatrixGroup final_modulation_group(const DitConfig& config, kernels::Precision precision);

// Names of the tensors that are used as they are, in f32.
std::vector<std::string> plain_tensors(const DitConfig& config);

}  // namespace ditmoe::networks
