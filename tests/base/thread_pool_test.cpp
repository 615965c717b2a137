#include "ditmoe/base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <sched.h>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

TEST(ThreadPoolTest, RunsEachTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      pool.run(count, [&](int64_t i, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        calls[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const std::atomic<int>& n : calls) {
        EXPECT_EQ(n.load(), 1);
      }
    }
  }
}

TEST(ThreadPoolTest, WritesOfTasksAreVisibleAfterRun) {
  ThreadPool pool(3);
  std::vector<int64_t> squares(64);
  for (int64_t round = 0; round < 2000; ++round) {
    pool.run(64, [&](int64_t i, int) { squares[static_cast<size_t>(i)] = i * i + round; });
    for (int64_t i = 0; i < 64; ++i) {
      ASSERT_EQ(squares[static_cast<size_t>(i)], i * i + round);
    }
  }
}

TEST(ThreadPoolTest, ThreadNumberIsNeverSharedByTwoTasksAtOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  pool.run(500, [&](int64_t, int thread) {
    EXPECT_EQ(inside[static_cast<size_t>(thread)].fetch_add(1), 0);
    std::this_thread::yield();
    inside[static_cast<size_t>(thread)].fetch_sub(1);
  });
}

TEST(ThreadPoolTest, SleepingWorkersAreWoken) {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> arrived{0};
    // Each task waits for the other, so this ends only if both threads take part.
    pool.run(2, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) {
        std::this_thread::yield();
      }
    });
    EXPECT_EQ(arrived.load(), 2);
  }
}

TEST(ThreadPoolTest, ExceptionReachesTheCallerAndThePoolLivesOn) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    EXPECT_THROW(pool.run(100,
                          [](int64_t i, int) {
                            if (i == 17) {
                              throw std::runtime_error("seventeen");
                            }
                          }),
                 std::runtime_error);
    std::atomic<int> calls{0};
    pool.run(100, [&](int64_t, int) { calls.fetch_add(1); });
    EXPECT_EQ(calls.load(), 100);
  }
}

TEST(ThreadPoolTest, DefaultSizeIsTheNumberOfCpusOfTheProcess) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(ThreadPool().size(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &before)) {
      CPU_SET(cpu, &one);
      break;
    }
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(ThreadPool().size(), 1);
  sched_setaffinity(0, sizeof(before), &before);
}

}  // namespace
}  // namespace ditmoe::base
