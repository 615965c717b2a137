#pragma once

#include <string>

#include "ditmoe/formats/toml.h"

namespace ditmoe::training {

// Runs a recipe of kind "classifier": trains the small classifier on Fashion-MNIST with AdamW
// (linear warm-up, then cosine to zero) on cross-entropy, telling the test accuracy after each
// epoch, and writes `<out_dir>/classifier.safetensors` with the metadata that
// networks::Classifier reads and the test accuracy. The same seed and number of threads give the
// same file.
//   recipe    keys below data., model., augment. and train.; "kind" has been read by the caller
//   threads   of the final judgement by networks::Classifier; ATen's own are the caller's to set
// Throws bad_input pointing at the line for unknown keys, wrong types and values out of range, and
// failure where the loss stops being finite.
void train_classifier(formats::TomlDocument& recipe, const std::string& out_dir, int threads);

}  // namespace ditmoe::training
