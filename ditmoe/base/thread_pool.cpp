#include "ditmoe/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <sched.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

// Between two runs of one forward pass lie some tens of microseconds, waking a sleeping thread
// costs about 80: a worker spins a few hundred microseconds (a pause is 10 to 40 ns) before it
// sleeps.
constexpr int kSpins = 10000;

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    return std::max(1, CPU_COUNT(&set));
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

// A run is open while it has tasks to give away. A worker enters (active + 1) and then looks
// whether the run is open; the caller closes it and then looks whether anybody is inside. Both use
// the sequentially consistent order, so one of the two sees the other: after the caller found
// active at zero nobody touches the run, and it need not wait for workers that were asleep all
// along.
struct ThreadPool::State {
  std::atomic<uint32_t> generation{0};  // of runs; what sleeping workers wait on
  std::atomic<bool> open{false};
  std::atomic<int> active{0};
  std::atomic<bool> stopping{false};
  std::atomic<bool> running{false};
  std::atomic<int64_t> next{0};
  int64_t count = 0;
  const FunctionRef<void(int64_t, int)>* task = nullptr;
  std::mutex error_mutex;
  std::exception_ptr error;
  std::vector<std::thread> workers;

  ~State() {
    stopping.store(true);
    announce_generation();
    for (std::thread& worker : workers) worker.join();
  }

  void take_tasks(int thread) {
    try {
      for (;;) {
        const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
        if (i >= count) {
          return;
        }
        (*task)(i, thread);
      }
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) {
        error = std::current_exception();
      }
      next.store(count, std::memory_order_relaxed);
    }
  }

  void wait_for_generation_after(uint32_t seen) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (generation.load(std::memory_order_acquire) != seen) {
        return;
      }
      __builtin_ia32_pause();
    }
    generation.wait(seen, std::memory_order_acquire);
  }

  void work(int thread) {
    uint32_t seen = 0;
    for (;;) {
      wait_for_generation_after(seen);
      seen = generation.load(std::memory_order_acquire);
      if (stopping.load()) {
        return;
      }
      active.fetch_add(1);
      if (open.load()) {
        take_tasks(thread);
      }
      active.fetch_sub(1);
    }
  }

  void wait_until_nobody_is_inside() {
    for (int spin = 0; active.load() != 0; ++spin) {
      if (spin < kSpins) {
        __builtin_ia32_pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

  void announce_generation() {
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }
};

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
  const int threads = num_threads > 0 ? num_threads : available_cpus();
  try {
    for (int thread = 1; thread < threads; ++thread) {
      state_->workers.emplace_back([state = state_.get(), thread] { state->work(thread); });
    }
  } catch (const std::system_error& error) {
    failure("{} threads cannot be started: {}", threads, error.what());
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run(int64_t count, FunctionRef<void(int64_t i, int thread)> task) {
  State& state = *state_;
  DITMOE_ASSERT(!state.running.exchange(true));
  state.count = count;
  state.task = &task;
  state.error = nullptr;
  state.next.store(0, std::memory_order_relaxed);
  const bool shared = count > 1 && !state.workers.empty();
  if (shared) {
    state.open.store(true);
    state.announce_generation();
  }
  state.take_tasks(0);
  if (shared) {
    state.open.store(false);
    state.wait_until_nobody_is_inside();
  }
  const std::exception_ptr error = std::exchange(state.error, nullptr);
  state.running.store(false);
  if (error) {
    std::rethrow_exception(error);
  }
}

}  // namespace ditmoe::base
