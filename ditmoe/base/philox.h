#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace ditmoe::base {

// Names one stream of random numbers. Counter-based: any number of any stream can be drawn without
// drawing the ones before it, so nothing depends on batch, thread count or order.
struct RandomKey {
  uint64_t seed = 0;    // of the run
  uint64_t index = 0;   // of the image or sample within the run
  uint32_t stream = 0;  // what the numbers are for: a sampler's step, or a purpose in training
};

// Block number `block` of a stream: Philox4x32-10 (Salmon et al. 2011, Random123), key = seed,
// counter = (block, stream, index low, index high).
std::array<uint32_t, 4> philox_block(const RandomKey& key, uint32_t block);

// Fills out with the first out.size() numbers of the stream, uniform in [0, 1), 24 bits each.
void fill_uniform(std::span<float> out, const RandomKey& key);

// Fills out with the first out.size() standard normal numbers of the stream (Box-Muller).
void fill_normal(std::span<float> out, const RandomKey& key);

// The first number of the stream, uniform in [0, bound). bound > 0.
uint64_t random_below(uint64_t bound, const RandomKey& key);

}  // namespace ditmoe::base
