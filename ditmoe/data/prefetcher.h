#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace ditmoe::data {

struct PrefetchSettings {
  int64_t first = 0;                                  // position of the first batch
  int64_t end = std::numeric_limits<int64_t>::max();  // after the last: that batch may be shorter
  int64_t batch = 1;                                  // positions of a batch
  int workers = 0;    // threads that fill batches; with 0 next() does
  int64_t ahead = 2;  // batches that are filled or being filled, beside the one handed out
};

// The order of things behind Prefetcher, which knows batches by the number of their slot.
class PrefetchQueue {
 public:
  using Fill = std::function<void(size_t slot, int64_t first, int64_t count)>;

  // Fills run on the workers, several at once, until the queue is destroyed, which waits for those
  // at work. first <= end, batch and ahead > 0, workers >= 0. Throws failure where threads cannot
  // be started.
  PrefetchQueue(const PrefetchSettings& settings, Fill fill);
  ~PrefetchQueue();
  PrefetchQueue(const PrefetchQueue&) = delete;
  PrefetchQueue& operator=(const PrefetchQueue&) = delete;

  static size_t num_slots(const PrefetchSettings& settings);

  bool has_next() const;
  size_t next();
  double wait_seconds();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Batches of consecutive positions, filled ahead by threads of its own and handed out in order. A
// batch is filled by one call, so its contents do not depend on the number of workers if `fill`
// depends on its arguments alone.
template <typename Batch>
class Prefetcher {
 public:
  // Puts positions [first, first + count) into a batch, which is as some earlier call left it, so
  // that its memory serves again: at first, and where the consumer moved from it, default
  // constructed or empty. Called by several threads at once for different batches.
  using Fill = std::function<void(int64_t first, int64_t count, Batch& batch)>;

  // Throws failure where threads cannot be started.
  Prefetcher(const PrefetchSettings& settings, Fill fill)
      : fill_(std::move(fill)),
        batches_(PrefetchQueue::num_slots(settings)),
        queue_(settings, [this](size_t slot, int64_t first, int64_t count) {
          fill_(first, count, batches_[slot]);
        }) {}

  // Whether there are positions left before `end`.
  bool has_next() const { return queue_.has_next(); }

  // The next batch, waiting for it, the caller's until it calls again. Rethrows what filling this
  // batch threw; called again, throws it again. A bug after the last. From one thread.
  Batch& next() { return batches_[queue_.next()]; }

  // Seconds that next() took since this was last asked: waiting, or filling without workers.
  double wait_seconds() { return queue_.wait_seconds(); }

 private:
  Fill fill_;
  std::vector<Batch> batches_;
  PrefetchQueue queue_;  // last: its threads use the others
};

}  // namespace ditmoe::data
