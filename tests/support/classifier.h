#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ditmoe/base/philox.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/networks/classifier.h"

namespace ditmoe::tests {

// Writes a classifier with small random weights.
inline void write_random_classifier(const std::string& path,
                                    const networks::ClassifierConfig& config) {
  std::vector<base::Tensor> storage;
  formats::NamedTensors tensors;
  for (const networks::TensorSpec& spec : networks::tensor_specs(config)) {
    base::Tensor& tensor = storage.emplace_back(base::DType::kF32, spec.shape);
    base::fill_normal(tensor.as<float>(), {.seed = 2, .index = storage.size()});
    for (float& value : tensor.as<float>()) value *= 0.3F;
    tensors.emplace_back(spec.name, tensor.view());
  }
  formats::write_safetensors(
      path, tensors, {{networks::kClassifierKey, networks::to_json(config).dump()}});
}

// Bytes of noise, the same for the same seed.
inline std::string noise_bytes(int64_t count, uint64_t seed) {
  std::vector<float> uniform(static_cast<size_t>(count));
  base::fill_uniform(uniform, {.seed = seed});
  std::string bytes;
  for (const float value : uniform) bytes += static_cast<char>(static_cast<uint8_t>(value * 256));
  return bytes;
}

// Writes bytes as IDX: 00 00 08 rank, big-endian dimensions, data.
inline void write_idx(const std::string& path,
                      const std::vector<int64_t>& shape,
                      const std::string& data) {
  std::string bytes = {0, 0, 8, static_cast<char>(shape.size())};
  for (const int64_t dimension : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes += static_cast<char>(static_cast<uint8_t>(dimension >> shift));
    }
  }
  formats::write_text(path, bytes + data);
}

}  // namespace ditmoe::tests
