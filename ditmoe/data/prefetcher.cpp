#include "ditmoe/data/prefetcher.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "ditmoe/base/error.h"

namespace ditmoe::data {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

struct PrefetchQueue::State {
  PrefetchSettings settings;
  Fill fill;
  int64_t num_batches;

  struct Slot {
    bool filled = false;
    std::exception_ptr error;  // of filling it
  };

  std::mutex mutex;               // guards what follows
  std::condition_variable ready;  // the next batch stands in its slot
  std::condition_variable space;  // a batch was handed out, or the queue stops
  std::vector<Slot> slots;        // batch i in slot i % size
  int64_t claimed = 0;            // batches before it are filled or in work
  int64_t taken = 0;              // batches before it were handed out
  bool stopping = false;
  Clock::duration waited{0};

  std::vector<std::thread> threads;

  size_t slot_of(int64_t number) const {
    return static_cast<size_t>(number % static_cast<int64_t>(slots.size()));
  }

  // The next batch to fill, once there is room for it; nothing when there is no more to do.
  std::optional<int64_t> claim() {
    std::unique_lock lock(mutex);
    const auto none_left = [this] { return stopping || claimed == num_batches; };
    space.wait(lock, [&] { return none_left() || claimed < taken + settings.ahead; });
    if (none_left()) return std::nullopt;
    return claimed++;
  }

  void fill_batch(int64_t number) {
    const size_t slot = slot_of(number);
    const int64_t first = settings.first + number * settings.batch;
    std::exception_ptr error;
    try {
      fill(slot, first, std::min(settings.batch, settings.end - first));
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    slots[slot] = {true, error};
    if (number == taken) ready.notify_one();
  }

  void work() {
    while (const std::optional<int64_t> number = claim()) fill_batch(*number);
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    space.notify_all();
    for (std::thread& thread : threads) thread.join();
  }
};

PrefetchQueue::PrefetchQueue(const PrefetchSettings& settings, Fill fill)
    : state_(std::make_unique<State>()) {
  DITMOE_ASSERT(0 <= settings.first && settings.first <= settings.end && settings.batch > 0);
  DITMOE_ASSERT(settings.workers >= 0 && settings.ahead > 0);
  const int64_t positions = settings.end - settings.first;
  state_->settings = settings;
  state_->fill = std::move(fill);
  state_->num_batches = positions / settings.batch + (positions % settings.batch > 0 ? 1 : 0);
  state_->slots.resize(num_slots(settings));
  try {
    for (int i = 0; i < settings.workers; ++i) {
      state_->threads.emplace_back([state = state_.get()] { state->work(); });
    }
  } catch (const std::system_error& error) {
    state_->stop();
    base::failure("{} threads for batches cannot be started: {}", settings.workers, error.what());
  }
}

PrefetchQueue::~PrefetchQueue() { state_->stop(); }

size_t PrefetchQueue::num_slots(const PrefetchSettings& settings) {
  return settings.workers > 0 ? static_cast<size_t>(settings.ahead) + 1 : 1;
}

bool PrefetchQueue::has_next() const {
  const std::lock_guard lock(state_->mutex);
  return state_->taken < state_->num_batches;
}

size_t PrefetchQueue::next() {
  DITMOE_ASSERT(has_next());
  State& state = *state_;
  const Clock::time_point begin = Clock::now();
  if (state.threads.empty() && state.claimed == state.taken) state.fill_batch(state.claimed++);
  std::unique_lock lock(state.mutex);
  const size_t number = state.slot_of(state.taken);
  State::Slot& slot = state.slots[number];
  state.ready.wait(lock, [&] { return slot.filled; });
  state.waited += Clock::now() - begin;
  if (slot.error != nullptr) std::rethrow_exception(slot.error);
  slot.filled = false;
  ++state.taken;
  state.space.notify_all();
  return number;
}

double PrefetchQueue::wait_seconds() {
  const std::lock_guard lock(state_->mutex);
  return std::chrono::duration<double>(std::exchange(state_->waited, Clock::duration(0))).count();
}

}  // namespace ditmoe::data
