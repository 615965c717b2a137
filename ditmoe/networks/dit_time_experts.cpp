#include "ditmoe/networks/dit_time_experts.h"

#include <algorithm>

namespace ditmoe::networks {
namespace {

// First row behind those, from `first` on and before `end`, that take the same experts: whole
// images at one step of a sampler, so that their rows are multiplied together.
int64_t end_of_run(const DitConditioning& conditioning,
                   int64_t layer,
                   int64_t tokens,
                   int64_t first,
                   int64_t end) {
  const auto experts = conditioning.time_choice(layer, first / tokens).expert;
  int64_t image = first / tokens + 1;
  while (image * tokens < end &&
         std::ranges::equal(conditioning.time_choice(layer, image).expert, experts)) {
    ++image;
  }
  return std::min(end, image * tokens);
}

}  // namespace

void enter_time_experts(const DitConfig& config,
                        const kernels::Products& products,
                        const TimeExpertWeights& weights,
                        const DitConditioning& conditioning,
                        int64_t layer,
                        const kernels::Tile& tile,
                        const DitBuffers& buffers,
                        DitScratch& scratch,
                        int thread) {
  const int64_t width = config.width;
  const int64_t tokens = config.tokens();
  const int64_t end = tile.first + tile.rows;
  std::fill_n(buffers.masked_RD + tile.first * width, tile.rows * width, 0.0f);
  for (int64_t first = tile.first; first < end;) {
    const int64_t rows = end_of_run(conditioning, layer, tokens, first, end) - first;
    const float* x = buffers.x_RD + first * width;
    float* masked = buffers.masked_RD + first * width;
    for (int64_t i = 0; i < rows; ++i) scratch.rows.store(products.rows(), x + i * width, i);
    for (size_t k = 0; k < static_cast<size_t>(config.time_top_k); ++k) {
      const int32_t expert = conditioning.time_choice(layer, first / tokens).expert[k];
      products.linear(scratch.rows,
                      rows,
                      weights.experts[static_cast<size_t>(expert)],
                      static_cast<int32_t*>(scratch.wide),
                      scratch.rows_f32,
                      thread);
      for (int64_t i = 0; i < rows; ++i) {
        const auto choice = conditioning.time_choice(layer, (first + i) / tokens);
        const auto slot = static_cast<int32_t>(i);
        const float* gate = x + i * width;
        products.rows().combine(nullptr,
                                scratch.rows_f32,
                                &slot,
                                &choice.weight[k],
                                1,
                                gate,
                                width,
                                masked + i * width);
      }
    }
    first += rows;
  }
  float* x = buffers.x_RD + tile.first * width;
  const float* masked = buffers.masked_RD + tile.first * width;
  for (int64_t i = 0; i < tile.rows * width; ++i) x[i] += masked[i];
}

}  // namespace ditmoe::networks
