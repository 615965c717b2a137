#include "ditmoe/networks/memory_plan.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "ditmoe/base/error.h"
#include "ditmoe/kernels/activations.h"
#include "ditmoe/networks/packed_file.h"

namespace ditmoe::networks {
namespace {

// The program, its libraries, what oneDNN compiles, activations of a few images and cached
// modulations.
constexpr uint64_t kOverhead = uint64_t{768} << 20;

double gigabytes(uint64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

// Bytes that can be taken without swapping; the largest number where the system does not tell.
uint64_t free_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes << 10;
  }
  return std::numeric_limits<uint64_t>::max();
}

uint64_t parameter_bytes(const DitConfig& config, kernels::Precision precision) {
  return static_cast<uint64_t>(total_parameters(config)) *
         static_cast<uint64_t>(kernels::activation_bytes(precision));
}

uint64_t weight_bytes(const ModelFile& model, kernels::Precision precision) {
  uint64_t bytes = 0;
  if (model.packed()) {
    for (const formats::SafetensorsEntry& entry : model.file().entries()) bytes += entry.bytes;
    return bytes;
  }
  return parameter_bytes(model.config(), precision);
}

}  // namespace

void check_memory(const DitConfig& config, kernels::Precision precision) {
  const uint64_t needed = parameter_bytes(config, precision) + kOverhead;
  const uint64_t available = free_memory();
  if (needed <= available) return;
  base::bad_input(
      "a network of {:.1f} billion parameters needs {:.1f} GB in {}, {:.1f} GB are free",
      static_cast<double>(total_parameters(config)) * 1e-9,
      gigabytes(needed),
      kernels::to_word(precision),
      gigabytes(available));
}

std::optional<uint64_t> plan_memory(const ModelFile& model, const ExecutorOptions& options) {
  const uint64_t weights = weight_bytes(model, options.precision);
  const uint64_t available = options.memory.value_or(free_memory());
  if (weights + kOverhead <= available) return std::nullopt;
  const std::string needed = fmt::format("needs {:.1f} GB", gigabytes(weights + kOverhead));
  if (!model.packed()) {
    base::bad_input("{}: {} in {}, {:.1f} GB may be used; packed by ditmoe convert it could stream",
                    model.path(),
                    needed,
                    kernels::to_word(options.precision),
                    gigabytes(available));
  }
  const auto regions = expert_regions(model.file(), model.config(), *model.packed());
  uint64_t experts = 0;
  for (const ExpertRegion& region : regions) experts += region.bytes;
  const uint64_t fixed = weights - experts + kOverhead;
  const uint64_t least = fixed + (regions.empty() ? 0 : ExpertStream::least_bytes(regions));
  if (!options.memory) {
    const auto suggested = static_cast<uint64_t>(gigabytes(available)) * 7 / 10;
    base::bad_input("{}: {}, {:.1f} GB are free; --memory {}G would stream its experts from disk",
                    model.path(),
                    needed,
                    gigabytes(available),
                    std::max<uint64_t>(suggested, static_cast<uint64_t>(gigabytes(least)) + 1));
  }
  if (regions.empty() || least > available) {
    base::bad_input("{}: {}, and to stream its experts {:.1f} GB; --memory allows {:.1f} GB",
                    model.path(),
                    needed,
                    gigabytes(least),
                    gigabytes(available));
  }
  if (!kernels::Matmul(1, options.isa).adopts_in_place(*model.packed())) {
    base::bad_input("{}: {}; this CPU would have to repack what streams", model.path(), needed);
  }
  return available - fixed;
}

std::vector<const std::byte*> packed_base(const ModelFile& model) {
  std::vector<const std::byte*> bases;
  const DitConfig& config = model.config();
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (!config.is_moe(layer)) continue;
    const auto first = expert_groups(config, layer, 0, *model.packed()).front();
    bases.push_back(model.file().view(first.name + ".packed").data);
  }
  return bases;
}

}  // namespace ditmoe::networks
