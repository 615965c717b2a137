#include "ditmoe/networks/memory_plan.h"

#include <algorithm>
#include <string>

#include "ditmoe/base/error.h"
#include "ditmoe/base/memory.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/networks/packed_file.h"

namespace ditmoe::networks {
namespace {

// The program, its libraries, what oneDNN compiles, activations of a few images and cached
// modulations.
constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr uint64_t kOverhead = 768 * kMebibyte;

uint64_t parameter_bytes(const DitConfig& config, kernels::Precision precision) {
  return static_cast<uint64_t>(total_parameters(config)) *
         static_cast<uint64_t>(kernels::activation_bytes(precision));
}

uint64_t weight_bytes(const ModelFile& model, kernels::Precision precision) {
  uint64_t bytes = 0;
  if (model.packed()) {
    for (const formats::TensorEntry& entry : model.file()->entries()) bytes += entry.bytes;
    return bytes;
  }
  return parameter_bytes(model.config(), precision);
}

size_t sparse_layers(const DitConfig& config) {
  size_t count = 0;
  for (int64_t layer = 0; layer < config.depth; ++layer) count += config.is_moe(layer) ? 1 : 0;
  return count;
}

}  // namespace

void check_memory(const DitConfig& config, kernels::Precision precision) {
  const uint64_t needed = parameter_bytes(config, precision) + kOverhead;
  const uint64_t available = base::free_memory();
  if (needed <= available) return;
  base::bad_input("a network of {:.1f} billion parameters needs {} in {}, {} are free",
                  static_cast<double>(total_parameters(config)) * 1e-9,
                  base::bytes_text(needed),
                  kernels::to_word(precision),
                  base::bytes_text(available));
}

std::optional<uint64_t> plan_memory(const ModelFile& model, const ExecutorOptions& options) {
  const uint64_t weights = weight_bytes(model, options.precision);
  const uint64_t available = options.memory.value_or(base::free_memory());
  if (weights + kOverhead <= available) return std::nullopt;
  const std::string refusal = fmt::format("{}: needs {} in {}, {} {}",
                                          model.path(),
                                          base::bytes_text(weights + kOverhead),
                                          kernels::to_word(options.precision),
                                          options.memory ? "--memory allows" : "free are",
                                          base::bytes_text(available));
  std::vector<ExpertRegion> regions;
  if (model.packed()) regions = expert_regions(*model.file(), model.config(), *model.packed());
  if (regions.size() <= ExpertStream::kLeastLayers) {
    const bool could_stream =
        !model.packed() && sparse_layers(model.config()) > ExpertStream::kLeastLayers;
    base::bad_input(
        "{}{}", refusal, could_stream ? "; packed by ditmoe convert it can stream" : "");
  }
  uint64_t experts = 0;
  for (const ExpertRegion& region : regions) experts += region.bytes;
  const uint64_t fixed = weights - experts + kOverhead;
  const uint64_t least = fixed + ExpertStream::least_bytes(regions);
  if (least > available) {
    base::bad_input("{}; streaming its experts takes {}", refusal, base::bytes_text(least));
  }
  if (!kernels::Matmul(1, options.isa).adopts_in_place(*model.packed())) {
    base::bad_input("{}; this CPU would have to repack what streams", refusal);
  }
  if (!options.memory) {
    base::bad_input("{}; --memory {}M would stream its experts from disk",
                    refusal,
                    std::max(available / 10 * 7, least + kMebibyte - 1) / kMebibyte);
  }
  return available - fixed;
}

std::vector<const std::byte*> packed_base(const ModelFile& model) {
  std::vector<const std::byte*> bases;
  const DitConfig& config = model.config();
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (!config.is_moe(layer)) continue;
    const auto first = expert_groups(config, layer, 0, *model.packed()).front();
    bases.push_back(model.file()->view(first.name + ".packed").data);
  }
  return bases;
}

}  // namespace ditmoe::networks
