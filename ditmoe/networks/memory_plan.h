#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::networks {

// How a model fits into options.memory, or into what the machine has free where that is not given:
// nullopt where all of it does, else the bytes left for a packed file's experts, which then stream.
// Throws bad_input, naming what is needed, for a model that does not fit at all.
std::optional<uint64_t> plan_memory(const ModelFile& model, const ExecutorOptions& options);

// Throws bad_input for a network whose weights, packed from elsewhere, exceed what is free.
void check_memory(const DitConfig& config, kernels::Precision precision);

// Where the experts of each sparse layer stand in the mapping of a packed file.
std::vector<const std::byte*> packed_base(const ModelFile& model);

}  // namespace ditmoe::networks
