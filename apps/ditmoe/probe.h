#pragma once

#include "ditmoe/formats/tensor_file.h"

#include "apps/ditmoe/command.h"

namespace ditmoe::apps {

// Throws bad_input where the output is the input, or a file of the model.
void expect_new_output(const ProbeFiles& files, const formats::TensorFile& model);

// Adds its command below `probe`.
void add_probe_vae(CLI::App& probe, Commands& commands);

}  // namespace ditmoe::apps
