#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ditmoe/networks/dit_config.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::networks {

// What our files say in `__metadata__`: "ditmoe.format" (the version, "1"), "ditmoe.config",
// "ditmoe.class_names" and "ditmoe.sampling" (JSON); all but the first two may be absent.
using Metadata = std::map<std::string, std::string>;

Metadata write_metadata(const DitConfig& config,
                        const std::vector<std::string>& class_names,
                        const SamplingDefaults& sampling);

// Throws bad_input for a version this program does not know. source names the file in messages,
// here and below.
void check_format(const Metadata& metadata, const std::string& source);

// nullopt for a foreign file. Not validated.
std::optional<DitConfig> read_config(const Metadata& metadata, const std::string& source);

// Empty where the file has none; else num_classes names.
std::vector<std::string> read_class_names(const Metadata& metadata,
                                          int64_t num_classes,
                                          const std::string& source);

// Keys the file lacks, or all, are those of default_sampling(objective). Throws bad_input for a
// sampler that is unknown or not for the objective, and for values out of range.
SamplingDefaults read_sampling(const Metadata& metadata,
                               Objective objective,
                               const std::string& source);

}  // namespace ditmoe::networks
