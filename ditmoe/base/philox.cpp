#include "ditmoe/base/philox.h"

#include <cmath>
#include <numbers>

namespace ditmoe::base {
namespace {

// Multipliers and Weyl increments of Philox4x32 (Salmon et al. 2011, table 2).
constexpr uint64_t kMultiplier0 = 0xD2511F53;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;
constexpr uint32_t kWeyl1 = 0xBB67AE85;

constexpr float kUnit24 = 1.0F / 16777216.0F;

float unit(uint32_t bits) { return static_cast<float>(bits >> 8) * kUnit24; }

// Two normals from two words. 1 - u lies in (0, 1], so the logarithm is finite.
std::array<float, 2> box_muller(uint32_t first, uint32_t second) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(unit(first))));
  const double angle = 2.0 * std::numbers::pi * static_cast<double>(unit(second));
  return {static_cast<float>(radius * std::cos(angle)),
          static_cast<float>(radius * std::sin(angle))};
}

}  // namespace

std::array<uint32_t, 4> philox_block(const RandomKey& key, uint32_t block) {
  std::array<uint32_t, 4> counter = {
      block, key.stream, static_cast<uint32_t>(key.index), static_cast<uint32_t>(key.index >> 32)};
  auto key0 = static_cast<uint32_t>(key.seed);
  auto key1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0,
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1,
               static_cast<uint32_t>(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

void fill_uniform(std::span<float> out, const RandomKey& key) {
  for (size_t i = 0; i < out.size(); i += 4) {
    const auto words = philox_block(key, static_cast<uint32_t>(i / 4));
    for (size_t j = 0; j < 4 && i + j < out.size(); ++j) out[i + j] = unit(words[j]);
  }
}

void fill_normal(std::span<float> out, const RandomKey& key) {
  for (size_t i = 0; i < out.size(); i += 4) {
    const auto words = philox_block(key, static_cast<uint32_t>(i / 4));
    const auto front = box_muller(words[0], words[1]);
    const auto back = box_muller(words[2], words[3]);
    const std::array<float, 4> normals = {front[0], front[1], back[0], back[1]};
    for (size_t j = 0; j < 4 && i + j < out.size(); ++j) out[i + j] = normals[j];
  }
}

uint64_t random_below(uint64_t bound, const RandomKey& key) {
  const auto words = philox_block(key, 0);
  const uint64_t word = (static_cast<uint64_t>(words[0]) << 32) | words[1];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(word) * bound) >> 64);
}

}  // namespace ditmoe::base
