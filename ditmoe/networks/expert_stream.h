#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "ditmoe/base/arena.h"
#include "ditmoe/formats/direct_file.h"

namespace ditmoe::networks {

// Where in a packed file the experts of one layer stand; both multiples of 4096.
struct ExpertRegion {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// Experts of a network too large for memory, read from disk behind the computation. The first
// layers stay in memory, as many as the budget allows; the others pass through a ring of slots,
// which a thread fills in the order of the layers, beginning anew after the last.
//
//   for each layer: base = acquire(layer); ... use its experts ...; release(layer);
class ExpertStream {
 public:
  // Looks at a region when it has been read for the first time; throws where it is damaged.
  using Check = std::function<void(const ExpertRegion& region, std::span<const std::byte> bytes)>;

  // Layers whose experts are in memory at any time: one in use and one being read.
  static constexpr uint64_t kLeastLayers = 2;

  // Bytes that the stream needs at least.
  static uint64_t least_bytes(const std::vector<ExpertRegion>& layers);

  // Reads the layers that stay, and starts reading ahead. budget_bytes is at least least_bytes.
  // Throws bad_input for a file that cannot be opened, failure where it cannot be read, and what
  // check throws.
  ExpertStream(const std::string& path,
               std::vector<ExpertRegion> layers,
               uint64_t budget_bytes,
               Check check = {});
  ~ExpertStream();
  ExpertStream(const ExpertStream&) = delete;
  ExpertStream& operator=(const ExpertStream&) = delete;

  // The layer's region in memory, valid until release. Layers are acquired in order, again and
  // again; a first layer begins a new round. Waits for the disk. Throws what reading threw.
  const std::byte* acquire(int64_t layer);
  void release(int64_t layer);

  int64_t resident_layers() const { return resident_; }

  // Of a round: what is read from disk.
  uint64_t streamed_bytes() const;

 private:
  void read_ahead();
  void read(const ExpertRegion& region, bool first_time, std::byte* dst) const;

  std::vector<ExpertRegion> layers_;
  formats::DirectFile file_;
  Check check_;
  base::Arena arena_;
  std::vector<std::byte*> resident_data_;
  std::vector<std::byte*> slots_;
  int64_t resident_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t read_count_ = 0;      // regions read since the beginning
  int64_t released_count_ = 0;  // and given back
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread reader_;
};

}  // namespace ditmoe::networks
