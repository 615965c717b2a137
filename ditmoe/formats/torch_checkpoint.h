#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ditmoe/formats/pickle.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/formats/torch_archive.h"

namespace ditmoe::formats {

// The tensors of one set of weights, by name, in the order of the file.
using TorchWeights = std::vector<std::pair<std::string, PickleValue>>;

// Finds the weights in a checkpoint's value, a dict: under "ema", then "model", "state_dict" and
// "module" (DeepSpeed), else in the dict itself. With weights given, under "ema" alone or anywhere
// but there. What is no tensor is passed over, whatever it is. Throws bad_input naming the file for
// a value of another kind, a dict without weights or with more than 2^16, and a name used twice.
TorchWeights find_torch_weights(const TorchArchive& archive, std::optional<WeightSet> weights);

// What a checkpoint's value has under "args", an argparse.Namespace or a dict, as far as it is
// numbers, truth values ("true", "false") and short printable text: "args.<name>" and value.
std::map<std::string, std::string> read_torch_arguments(const PickleValue& root);

}  // namespace ditmoe::formats
