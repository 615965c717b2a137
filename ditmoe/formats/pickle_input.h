#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/pickle_builder.h"

namespace ditmoe::formats {

// The bytes of a pickle, read from beginning to end. builder, which must outlive it, says where a
// fault is.
class PickleInput {
 public:
  static constexpr size_t kMaxLine = 1024;

  PickleInput(std::span<const std::byte> bytes, const PickleBuilder& builder)
      : bytes_(bytes), builder_(builder) {}

  uint64_t position() const { return position_; }

  uint64_t remaining() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(uint64_t count) {
    if (count > remaining()) {
      builder_.fail("expected {} more bytes of pickle, found {}", count, remaining());
    }
    const auto taken = bytes_.subspan(static_cast<size_t>(position_), static_cast<size_t>(count));
    position_ += count;
    return taken;
  }

  template <typename T>
  T load() {
    return load_little<T>(take(sizeof(T)).data());
  }

  // Up to the next line feed, which is left out.
  std::string_view take_line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + position_,
                                static_cast<size_t>(remaining()));
    const size_t end = rest.substr(0, kMaxLine).find('\n');
    if (end == std::string_view::npos) {
      builder_.fail("expected a line of less than {} bytes, found no end of it", kMaxLine);
    }
    position_ += end + 1;
    return rest.substr(0, end);
  }

 private:
  std::span<const std::byte> bytes_;
  const PickleBuilder& builder_;
  uint64_t position_ = 0;
};

}  // namespace ditmoe::formats
