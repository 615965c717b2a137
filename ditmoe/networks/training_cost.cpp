#include "ditmoe/networks/training_cost.h"

#include <algorithm>

namespace ditmoe::networks {
namespace {

constexpr int64_t kFloat = 4;
constexpr int64_t kIndex = 8;

// Mostly libtorch's and its libraries' code and data, and oneDNN's compiled products.
constexpr int64_t kProgram = int64_t{275} << 20;

// Rows of f32 for each token that gradients in flight, and gaps between what the allocator holds,
// take at the peak. Measured: docs/training.md compares.
constexpr int64_t kRowsInFlight = 55;

// What the functions of autograd/ keep of one block, or hold at once while they run it.
class BlockCost {
 public:
  BlockCost(const DitConfig& config, const TrainingSettings& settings)
      : config_(config),
        rows_(settings.batch * config.tokens()),
        element_(settings.precision == kernels::Precision::kBf16 ? 2 : kFloat) {}

  int64_t kept(int64_t layer) const {
    const int64_t width = rows_ * config_.width;
    const bool narrow = element_ < kFloat;
    // The block's input, attention's result and the rows between, the feed-forward's result.
    int64_t bytes = 4 * width * kFloat;
    // What attention's products take: normalised rows, q, k and v, the mixed rows.
    bytes += (1 + 3 + 1) * width * element_;
    if (config_.is_moe(layer)) {
      // Normalised rows for the router; experts keep theirs sorted.
      bytes += width * kFloat + rows_ * config_.experts * kFloat;
      bytes += rows_ * config_.top_k * (kIndex + kFloat);
      bytes += swiglu(config_.top_k, config_.routed_width());
      if (config_.shared_experts > 0) bytes += swiglu(1, config_.shared_width());
    } else if (config_.feed_forward == FeedForward::kGelu) {
      bytes += width * element_ + 2 * rows_ * config_.dense_width() * element_;
    } else {
      bytes += (narrow ? 0 : width * kFloat) + swiglu(1, config_.dense_width());
    }
    if (config_.time_experts > 0) bytes += 4 * width * kFloat;
    return bytes;
  }

  // Of a block that is computed again: its input.
  int64_t input() const { return rows_ * config_.width * kFloat; }

  // Rows in flight, sorted rows, and one expert's hidden values.
  int64_t transient(int64_t layer) const {
    const int64_t width = rows_ * config_.width;
    const bool is_moe = config_.is_moe(layer);
    const int64_t copies = is_moe ? config_.top_k : 1;
    const int64_t hidden =
        is_moe ? std::max(config_.routed_width() * copies / 2, config_.shared_width())
               : config_.dense_width();
    return kRowsInFlight * width * kFloat + copies * width * element_ +
           3 * rows_ * hidden * element_;
  }

 private:
  // Of `copies` rows of each token: the rows, sorted, and their gate and up values.
  int64_t swiglu(int64_t copies, int64_t hidden) const {
    return copies * rows_ * (config_.width + 2 * hidden) * element_;
  }

  const DitConfig& config_;
  int64_t rows_;
  int64_t element_;
};

}  // namespace

TrainingMemory training_memory(const DitConfig& config, const TrainingSettings& settings) {
  const int64_t trained = total_parameters(config) - config.tokens() * config.width;
  const bool is_half = settings.precision == kernels::Precision::kBf16;
  const BlockCost cost(config, settings);
  TrainingMemory memory;
  memory.weights = trained * (kFloat + (is_half ? 2 : 0));
  memory.gradients = trained * kFloat;
  memory.optimiser = 2 * trained * kFloat;
  memory.average = trained * kFloat;
  int64_t largest = 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    memory.activations += settings.recompute ? cost.input() : cost.kept(layer);
    largest =
        std::max(largest, cost.transient(layer) + (settings.recompute ? cost.kept(layer) : 0));
  }
  memory.workspace = largest;
  memory.program = kProgram;
  return memory;
}

int64_t training_macs(const DitConfig& config, bool recompute) {
  return (recompute ? 4 : 3) * forward_macs(config);
}

}  // namespace ditmoe::networks
