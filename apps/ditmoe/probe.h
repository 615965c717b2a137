#pragma once

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {

// Adds its command below `probe`.
void add_probe_vae(CLI::App& probe, Commands& commands);

}  // namespace ditmoe::apps
