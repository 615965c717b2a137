#pragma once

#include <cstdint>

namespace ditmoe::data::stream {

// What each Philox stream of this folder is for (base::RandomKey::stream), and what the index
// beside it counts. Those of a training run stand in training/random_streams.h.
inline constexpr uint32_t kShuffle = 0x20000;   // epoch · 2^32 + item
inline constexpr uint32_t kLatent = 0x20001;    // see latent_key
inline constexpr uint32_t kFlip = 0x20002;      // position in the run
inline constexpr uint32_t kPartSeed = 0x20003;  // part of a mixture

}  // namespace ditmoe::data::stream
