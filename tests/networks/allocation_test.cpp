// That a forward takes no memory once it has run: activations live in buffers that are kept. What
// oneDNN allocates for a call are a few small nodes, which is why only larger pieces count.

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/networks/dit_executor.h"

#include "tests/support/arrays.h"

namespace {

constexpr size_t kLarge = 1024;
std::atomic<int> large_allocations = 0;

}  // namespace

[[gnu::noinline]] void* operator new(size_t bytes) {
  if (bytes >= kLarge) ++large_allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }

[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

// What base::Tensor calls.
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) {
  ++large_allocations;
  void* memory = nullptr;
  return posix_memalign(&memory, alignment, bytes) == 0 ? memory : nullptr;
}

namespace ditmoe::networks {
namespace {

void expect_no_memory_after_the_first(bool by_time) {
  DitConfig config;
  config.image_size = 16;
  config.width = 64;
  config.depth = 3;
  config.heads = 2;
  config.num_classes = 5;
  config.experts = 4;
  if (by_time) {
    config.feed_forward = FeedForward::kGelu;
    config.time_experts = 3;
    config.time_top_k = 2;
  }
  base::ThreadPool pool(2);
  const std::vector<int32_t> y = {0, 3, 5};
  const std::vector<float> x = tests::normal_values(3 * config.channels * 16 * 16, 1);
  std::vector<float> out(static_cast<size_t>(3 * config.output_channels() * 16 * 16));
  for (const auto precision :
       {kernels::Precision::kF32, kernels::Precision::kBf16, kernels::Precision::kInt8}) {
    DitExecutor executor(RandomWeights(config, 1), {.precision = precision}, pool);
    const auto steps = [&] {
      for (const float step : {900.0F, 500.0F, 100.0F}) {
        executor.predict(x, std::vector<float>(3, step), y, out);
      }
    };
    steps();  // compiles what products of these numbers of rows need
    steps();
    large_allocations = 0;
    steps();
    EXPECT_EQ(large_allocations, 0) << kernels::to_word(precision);
  }
}

TEST(AllocationTest, ForwardsAfterTheFirstTakeNoMemory) {
  expect_no_memory_after_the_first(/*by_time=*/false);
  expect_no_memory_after_the_first(/*by_time=*/true);
}

TEST(AllocationTest, LargePiecesAreCounted) {
  large_allocations = 0;
  const std::vector<float> many(1000);
  const base::Tensor tensor(base::DType::kF32, {1000});
  EXPECT_EQ(large_allocations, 2);
}

}  // namespace
}  // namespace ditmoe::networks
