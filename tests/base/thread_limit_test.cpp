// What happens where the system starts no more threads. Not under sanitizers, which need more
// addresses than the limit leaves.

#include <cstdlib>
#include <sys/resource.h>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/thread_pool.h"

namespace ditmoe::base {
namespace {

// Exits with 0 where a pool of many threads is refused as it should be, and a small one works.
[[noreturn]] void start_too_many() {
  const rlimit two_gigabytes = {rlim_t{2} << 30, rlim_t{2} << 30};  // of stacks of 8 MB each
  setrlimit(RLIMIT_AS, &two_gigabytes);
  try {
    const ThreadPool pool(4000);
    std::_Exit(1);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kFailure) std::_Exit(2);
  }
  int64_t sum = 0;
  ThreadPool(1).run(3, [&](int64_t i, int) { sum += i; });
  std::_Exit(sum == 3 ? 0 : 3);
}

TEST(ThreadLimitDeathTest, TooManyThreadsAreAFailureThatCanBeCaught) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(start_too_many(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace ditmoe::base
