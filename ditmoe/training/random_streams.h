#pragma once

#include <cstdint>

namespace ditmoe::training::stream {

// What each Philox stream of a training run is for (base::RandomKey::stream). The index beside it
// is the sample's number counted over the whole run, so that no draw depends on batch or rank.
inline constexpr uint32_t kInitialise = 0x10000;
inline constexpr uint32_t kTime = 0x10001;
inline constexpr uint32_t kNoise = 0x10002;
inline constexpr uint32_t kLabelDrop = 0x10003;

}  // namespace ditmoe::training::stream
