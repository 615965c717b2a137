#include "ditmoe/data/image_loader.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/data/centre_crop.h"
#include "ditmoe/formats/image.h"

namespace ditmoe::data {

LoadedImage load_image(const ImageFolder& folder, int64_t index, int64_t size) {
  LoadedImage loaded;
  loaded.index = index;
  try {
    loaded.image = centre_crop(formats::read_image(folder.path(index)), size);
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::kBadInput) throw;
    loaded.error = error.what();
  } catch (const std::bad_alloc&) {
    base::failure("{}: out of memory for an image", folder.path(index));
  }
  return loaded;
}

struct ImageLoader::State {
  const ImageFolder* folder;
  int64_t last;
  int64_t size;
  int64_t ahead;

  std::mutex mutex;               // guards all below
  std::condition_variable ready;  // the next image stands in its slot, or a thread failed
  std::condition_variable space;  // an image was taken, or the loader stops
  int64_t claimed;                // images before it are done or in work
  int64_t taken;                  // images before it were handed out
  std::vector<std::optional<LoadedImage>> slots;  // image i in slot i % ahead
  std::exception_ptr failure;
  bool stopping = false;

  std::vector<std::thread> threads;

  // The next image to load, once there is room for it; nothing when there is no more to do.
  std::optional<int64_t> claim() {
    std::unique_lock lock(mutex);
    space.wait(lock, [this] { return stopping || claimed == last || claimed < taken + ahead; });
    if (stopping || claimed == last) return std::nullopt;
    return claimed++;
  }

  void work() {
    try {
      while (const std::optional<int64_t> index = claim()) {
        LoadedImage loaded = load_image(*folder, *index, size);
        const std::lock_guard lock(mutex);
        slots[static_cast<size_t>(*index % ahead)] = std::move(loaded);
        if (*index == taken) ready.notify_one();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      ready.notify_one();
    }
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

ImageLoader::ImageLoader(const ImageFolder& folder,
                         int64_t first,
                         int64_t last,
                         int64_t size,
                         int num_threads,
                         int64_t ahead)
    : state_(std::make_unique<State>()) {
  DITMOE_ASSERT(0 <= first && first <= last && last <= folder.size());
  DITMOE_ASSERT(num_threads > 0 && ahead > 0);
  state_->folder = &folder;
  state_->last = last;
  state_->size = size;
  state_->ahead = ahead;
  state_->claimed = first;
  state_->taken = first;
  state_->slots.resize(static_cast<size_t>(ahead));
  try {
    for (int i = 0; i < num_threads; ++i) {
      state_->threads.emplace_back([state = state_.get()] { state->work(); });
    }
  } catch (...) {  // no more threads to be had
    state_->stop();
    throw;
  }
}

ImageLoader::~ImageLoader() { state_->stop(); }

std::optional<LoadedImage> ImageLoader::next() {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  if (state.taken == state.last) return std::nullopt;
  std::optional<LoadedImage>& slot = state.slots[static_cast<size_t>(state.taken % state.ahead)];
  state.ready.wait(lock, [&] { return slot.has_value() || state.failure != nullptr; });
  if (state.failure != nullptr) std::rethrow_exception(state.failure);
  std::optional<LoadedImage> result = std::exchange(slot, std::nullopt);
  ++state.taken;
  // All of them: after the last image every thread has to see that there is nothing left.
  state.space.notify_all();
  return result;
}

}  // namespace ditmoe::data
