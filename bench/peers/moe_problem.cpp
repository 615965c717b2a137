#include "moe_problem.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace ditmoe::peers {
namespace {

struct Size {
  std::string_view letter;
  int64_t depth;
  int64_t width;
};

constexpr std::array<Size, 5> kSizes = {
    {{"S", 12, 384}, {"B", 12, 768}, {"L", 24, 1024}, {"XL", 28, 1152}, {"G", 40, 1408}}};
constexpr int64_t kLatentSize = 32;  // of an image of 256 x 256

// Uniform in [-bound, bound), without std::uniform_real_distribution, whose values are not pinned.
std::vector<float> uniform(int64_t count, double bound, std::mt19937& random) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = static_cast<float>((random() / 2147483648.0 - 1.0) * bound);
  }
  return values;
}

void choose_experts(MoeProblem& problem, std::mt19937& random) {
  const MoeSizes& s = problem.sizes;
  std::vector<int32_t> experts(static_cast<size_t>(s.experts));
  std::iota(experts.begin(), experts.end(), 0);
  for (int64_t n = 0; n < s.tokens; ++n) {
    for (int64_t k = 0; k < s.top_k; ++k) {
      const int64_t other = k + static_cast<int64_t>(random() % (s.experts - k));
      std::swap(experts[k], experts[other]);
      problem.choice_NK.push_back(experts[k]);
      problem.weight_NK.push_back(0.1F + 0.4F * static_cast<float>(random() / 4294967296.0));
    }
  }
}

// Adds scale * down(silu(gate(x)) * up(x)) to out; gate and up are [hidden, width].
void add_swiglu(const float* x,
                const float* gate,
                const float* up,
                const float* down,
                int64_t width,
                int64_t hidden,
                double scale,
                std::vector<double>& out) {
  std::vector<double> h(static_cast<size_t>(hidden));
  for (int64_t f = 0; f < hidden; ++f) {
    double g = 0;
    double u = 0;
    for (int64_t d = 0; d < width; ++d) {
      g += static_cast<double>(x[d]) * gate[f * width + d];
      u += static_cast<double>(x[d]) * up[f * width + d];
    }
    h[f] = g / (1 + std::exp(-g)) * u;
  }
  for (int64_t d = 0; d < width; ++d) {
    double sum = 0;
    for (int64_t f = 0; f < hidden; ++f) {
      sum += h[f] * down[d * hidden + f];
    }
    out[d] += scale * sum;
  }
}

}  // namespace

double MoeSizes::flop() const {
  return 2.0 * static_cast<double>(tokens) * 3 * static_cast<double>(width) *
         static_cast<double>(top_k * expert_width + shared_width);
}

MoeSizes sizes_of(const std::string& preset, int64_t batch) {
  std::array<char, 3> letter{};
  int patch = 0;
  int experts = 0;
  int top_k = 0;
  int end = 0;
  const int fields = std::sscanf(
      preset.c_str(), "%2[A-Z]/%1d-%3dE%2dA%n", letter.data(), &patch, &experts, &top_k, &end);
  for (const Size& size : kSizes) {
    const bool fits = fields == 4 && end == static_cast<int>(preset.size()) &&
                      size.letter == letter.data() && (patch == 2 || patch == 4 || patch == 8) &&
                      top_k >= 1 && top_k <= experts;
    if (fits) {
      const int64_t grid = kLatentSize / patch;
      return {batch * grid * grid,
              size.width,
              experts,
              top_k,
              4 * size.width,
              2 * size.width,
              size.depth};
    }
  }
  throw std::runtime_error("unknown preset '" + preset + "': expected for example S/2-8E2A");
}

MoeProblem make_problem(const MoeSizes& sizes) {
  std::mt19937 random(7);
  MoeProblem problem;
  problem.sizes = sizes;
  const int64_t routed = sizes.experts * sizes.expert_width * sizes.width;
  const int64_t shared = sizes.shared_width * sizes.width;
  // Bounds of unit gain: a layer's outputs are about as large as its inputs.
  const double in = std::sqrt(3.0 / static_cast<double>(sizes.width));
  problem.x_ND = uniform(sizes.tokens * sizes.width, std::sqrt(3.0), random);
  choose_experts(problem, random);
  problem.gate_EFD = uniform(routed, in, random);
  problem.up_EFD = uniform(routed, in, random);
  problem.down_EDF =
      uniform(routed, std::sqrt(3.0 / static_cast<double>(sizes.expert_width)), random);
  problem.shared_gate_SD = uniform(shared, in, random);
  problem.shared_up_SD = uniform(shared, in, random);
  problem.shared_down_DS =
      uniform(shared, std::sqrt(3.0 / static_cast<double>(sizes.shared_width)), random);
  return problem;
}

std::vector<double> reference_row(const MoeProblem& problem, int64_t token) {
  const MoeSizes& s = problem.sizes;
  const float* x = problem.x_ND.data() + token * s.width;
  std::vector<double> out(static_cast<size_t>(s.width));
  for (int64_t k = 0; k < s.top_k; ++k) {
    const int64_t at = problem.choice_NK[token * s.top_k + k] * s.expert_width * s.width;
    add_swiglu(x,
               problem.gate_EFD.data() + at,
               problem.up_EFD.data() + at,
               problem.down_EDF.data() + at,
               s.width,
               s.expert_width,
               problem.weight_NK[token * s.top_k + k],
               out);
  }
  add_swiglu(x,
             problem.shared_gate_SD.data(),
             problem.shared_up_SD.data(),
             problem.shared_down_DS.data(),
             s.width,
             s.shared_width,
             1.0,
             out);
  return out;
}

std::vector<int64_t> expert_counts(const MoeProblem& problem) {
  std::vector<int64_t> counts(static_cast<size_t>(problem.sizes.experts));
  for (const int32_t expert : problem.choice_NK) {
    ++counts[expert];
  }
  return counts;
}

}  // namespace ditmoe::peers
