#include "ditmoe/networks/expert_stream.h"

#include <algorithm>
#include <utility>

#include "ditmoe/base/error.h"

namespace ditmoe::networks {
namespace {

constexpr int64_t kMostSlots = 3;

uint64_t largest(const std::vector<ExpertRegion>& layers) {
  uint64_t bytes = 0;
  for (const ExpertRegion& region : layers) bytes = std::max(bytes, region.bytes);
  return bytes;
}

}  // namespace

uint64_t ExpertStream::least_bytes(const std::vector<ExpertRegion>& layers) {
  return kLeastLayers * largest(layers);
}

ExpertStream::ExpertStream(const std::string& path,
                           std::vector<ExpertRegion> layers,
                           uint64_t budget_bytes,
                           Check check)
    : layers_(std::move(layers)), file_(formats::DirectFile::open(path)), check_(std::move(check)) {
  DITMOE_ASSERT(!layers_.empty() && budget_bytes >= least_bytes(layers_));
  const uint64_t slot = largest(layers_);
  const auto pieces = static_cast<int64_t>(budget_bytes / slot);
  const auto count = static_cast<int64_t>(layers_.size());
  const int64_t slots = std::min(kMostSlots, pieces);
  resident_ = std::min(count, pieces - slots);
  for (int64_t layer = 0; layer < resident_; ++layer) {
    const ExpertRegion& region = layers_[static_cast<size_t>(layer)];
    resident_data_.push_back(arena_.take(region.bytes));
    read(region, /*first_time=*/true, resident_data_.back());
  }
  if (resident_ == count) return;
  for (int64_t i = 0; i < slots; ++i) slots_.push_back(arena_.take(slot));
  reader_ = std::thread([this] { read_ahead(); });
}

ExpertStream::~ExpertStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (reader_.joinable()) reader_.join();
}

uint64_t ExpertStream::streamed_bytes() const {
  uint64_t bytes = 0;
  for (size_t i = static_cast<size_t>(resident_); i < layers_.size(); ++i) {
    bytes += layers_[i].bytes;
  }
  return bytes;
}

void ExpertStream::read(const ExpertRegion& region, bool first_time, std::byte* dst) const {
  file_.read(region.offset, {dst, region.bytes});
  if (first_time && check_) check_(region, {dst, region.bytes});
}

void ExpertStream::read_ahead() {
  const int64_t streamed = static_cast<int64_t>(layers_.size()) - resident_;
  const auto slots = static_cast<int64_t>(slots_.size());
  try {
    for (int64_t count = 0;; ++count) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || count - released_count_ < slots; });
        if (stopping_) return;
      }
      read(layers_[static_cast<size_t>(resident_ + count % streamed)],
           /*first_time=*/count < streamed,
           slots_[static_cast<size_t>(count % slots)]);
      {
        const std::lock_guard lock(mutex_);
        read_count_ = count + 1;
      }
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

const std::byte* ExpertStream::acquire(int64_t layer) {
  if (layer < resident_) return resident_data_[static_cast<size_t>(layer)];
  std::unique_lock lock(mutex_);
  const int64_t streamed = static_cast<int64_t>(layers_.size()) - resident_;
  const auto wait_for_next = [&] {
    changed_.wait(lock, [&] { return error_ || read_count_ > released_count_; });
    // Layers that were read before the fault are good.
    if (read_count_ <= released_count_) std::rethrow_exception(error_);
  };
  wait_for_next();
  // Regions are used one at a time, in order; those of a forward that was given up are passed over.
  while (released_count_ % streamed != layer - resident_) {
    ++released_count_;
    changed_.notify_all();
    wait_for_next();
  }
  const int64_t index = released_count_;
  return slots_[static_cast<size_t>(index % static_cast<int64_t>(slots_.size()))];
}

void ExpertStream::release(int64_t layer) {
  if (layer < resident_) return;
  {
    const std::lock_guard lock(mutex_);
    ++released_count_;
  }
  changed_.notify_all();
}

}  // namespace ditmoe::networks
