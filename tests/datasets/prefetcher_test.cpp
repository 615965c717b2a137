#include "ditmoe/data/prefetcher.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

#include "tests/formats/temp_dir.h"

namespace ditmoe::data {
namespace {

using base::ErrorKind;
using formats::test::expect_error;
using std::chrono::milliseconds;

// Nothing that is copied.
struct Batch {
  std::unique_ptr<std::vector<int64_t>> positions;
};

void fill(int64_t first, int64_t count, Batch& batch) {
  if (batch.positions == nullptr) batch.positions = std::make_unique<std::vector<int64_t>>();
  batch.positions->resize(static_cast<size_t>(count));
  std::iota(batch.positions->begin(), batch.positions->end(), first);
}

// Makes some batches slower than those behind them.
void fill_unevenly(int64_t first, int64_t count, Batch& batch) {
  std::this_thread::sleep_for(milliseconds(first % 3));
  fill(first, count, batch);
}

TEST(PrefetcherTest, BatchesComeInOrderWhateverTheWorkers) {
  for (const int workers : {0, 1, 4}) {
    for (const int64_t ahead : {1, 2, 7}) {
      Prefetcher<Batch> prefetcher(
          {.first = 5, .end = 5 + 98, .batch = 4, .workers = workers, .ahead = ahead},
          fill_unevenly);
      int64_t position = 5;
      while (prefetcher.has_next()) {
        const Batch& batch = prefetcher.next();
        ASSERT_EQ(batch.positions->size(), position == 101 ? 2U : 4U);  // the last is shorter
        for (const int64_t found : *batch.positions) ASSERT_EQ(found, position++);
      }
      EXPECT_EQ(position, 103);
    }
  }
}

TEST(PrefetcherTest, NothingToDoIsDone) {
  for (const int workers : {0, 3}) {
    Prefetcher<Batch> prefetcher({.first = 8, .end = 8, .batch = 4, .workers = workers}, fill);
    EXPECT_FALSE(prefetcher.has_next());
  }
}

TEST(PrefetcherTest, NoMoreThanAskedForIsFilledAhead) {
  std::atomic<int64_t> furthest = 0;
  Prefetcher<Batch> prefetcher(
      {.batch = 1, .workers = 4, .ahead = 3}, [&](int64_t first, int64_t count, Batch& batch) {
        fill(first, count, batch);
        for (int64_t seen = furthest;
             seen < first && !furthest.compare_exchange_weak(seen, first);) {
        }
      });
  for (int64_t taken = 1; taken <= 20; ++taken) {
    prefetcher.next();
    std::this_thread::sleep_for(milliseconds(2));
    EXPECT_LE(furthest, taken - 1 + 3);
  }
}

TEST(PrefetcherTest, TheBatchHandedOutIsLeftAlone) {
  Prefetcher<Batch> prefetcher({.batch = 2, .workers = 4, .ahead = 2}, fill);
  for (int64_t i = 0; i < 50; ++i) {
    const Batch& batch = prefetcher.next();
    std::this_thread::yield();
    EXPECT_EQ(batch.positions->front(), 2 * i);
    EXPECT_EQ(batch.positions->back(), 2 * i + 1);
  }
}

TEST(PrefetcherTest, MemoryIsUsedAgainUnlessItWasMovedAway) {
  for (const int workers : {0, 2}) {
    std::mutex mutex;
    std::set<const void*> seen;
    Prefetcher<Batch> prefetcher({.batch = 2, .workers = workers, .ahead = 2},
                                 [&](int64_t first, int64_t count, Batch& batch) {
                                   fill(first, count, batch);
                                   const std::lock_guard lock(mutex);
                                   seen.insert(batch.positions.get());
                                 });
    for (int i = 0; i < 30; ++i) prefetcher.next();
    const std::vector<int64_t> kept = *std::exchange(prefetcher.next().positions, nullptr);
    for (int i = 0; i < 30; ++i) prefetcher.next();
    EXPECT_EQ(kept.front(), 60);
    const std::lock_guard lock(mutex);
    EXPECT_LE(seen.size(), workers == 0 ? 2U : 4U);
  }
}

TEST(PrefetcherTest, FaultsComeWithTheBatchTheyBelongTo) {
  for (const int workers : {0, 1, 4}) {
    Prefetcher<Batch> prefetcher({.batch = 10, .workers = workers, .ahead = 4},
                                 [](int64_t first, int64_t count, Batch& batch) {
                                   if (first >= 30) base::failure("position {} is broken", first);
                                   fill_unevenly(first, count, batch);
                                 });
    for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(prefetcher.next().positions->front(), 10 * i);
    for (int again = 0; again < 2; ++again) {
      expect_error([&] { prefetcher.next(); }, ErrorKind::kFailure, "position 30 is broken");
    }
  }
}

TEST(PrefetcherTest, OneBadBatchDoesNotHarmThoseBefore) {
  // Batch 3 fails long before batch 0 is there.
  Prefetcher<Batch> prefetcher({.batch = 1, .workers = 4, .ahead = 4},
                               [](int64_t first, int64_t count, Batch& batch) {
                                 if (first == 3) throw std::bad_alloc();
                                 std::this_thread::sleep_for(milliseconds(5));
                                 fill(first, count, batch);
                               });
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(prefetcher.next().positions->front(), i);
  EXPECT_THROW(prefetcher.next(), std::bad_alloc);
}

TEST(PrefetcherTest, LeavingEarlyStopsTheWorkers) {
  std::atomic<int> inside = 0;
  std::atomic<int> calls = 0;
  {
    Prefetcher<Batch> prefetcher({.batch = 1, .workers = 4, .ahead = 100},
                                 [&](int64_t first, int64_t count, Batch& batch) {
                                   ++inside;
                                   ++calls;
                                   std::this_thread::sleep_for(milliseconds(3));
                                   fill(first, count, batch);
                                   --inside;
                                 });
    prefetcher.next();
    while (inside == 0) std::this_thread::yield();
  }
  EXPECT_EQ(inside, 0);
  EXPECT_LT(calls, 100);  // nothing was begun that had not been
  Prefetcher<Batch> untouched({.batch = 1, .workers = 4, .ahead = 4}, fill);
}

TEST(PrefetcherTest, TellsHowLongItWaited) {
  for (const int workers : {0, 1}) {
    Prefetcher<Batch> prefetcher({.batch = 1, .workers = workers, .ahead = 1},
                                 [](int64_t first, int64_t count, Batch& batch) {
                                   std::this_thread::sleep_for(milliseconds(5));
                                   fill(first, count, batch);
                                 });
    EXPECT_EQ(prefetcher.wait_seconds(), 0.0);
    for (int i = 0; i < 3; ++i) prefetcher.next();
    // With a worker, how long is for the machine to say.
    EXPECT_GE(prefetcher.wait_seconds(), workers == 0 ? 0.015 : 0.0);
    EXPECT_EQ(prefetcher.wait_seconds(), 0.0);
  }
}

using PrefetcherDeathTest = ::testing::Test;

TEST(PrefetcherDeathTest, BatchBeyondTheEndIsABug) {
  Prefetcher<Batch> prefetcher({.end = 3, .batch = 3}, fill);
  prefetcher.next();
  EXPECT_DEATH(prefetcher.next(), "has_next");
}

}  // namespace
}  // namespace ditmoe::data
