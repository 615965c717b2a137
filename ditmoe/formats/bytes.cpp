#include "ditmoe/formats/bytes.h"

#include <limits>

#include "ditmoe/base/quoted.h"

namespace ditmoe::formats {

std::string printable(std::string_view text) { return base::quoted(text); }

std::optional<uint64_t> tensor_bytes(const base::Shape& shape, base::DType dtype) {
  // Zero dimensions count last, so that [2^62, 2^62, 0] overflows in every order.
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t product = base::size_of(dtype);
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    if (dim == 0) {
      empty = true;
      continue;
    }
    if (product > kLargest / static_cast<uint64_t>(dim)) return std::nullopt;
    product *= static_cast<uint64_t>(dim);
  }
  return empty ? 0 : product;
}

void NameLengths::add(std::string_view name) {
  constexpr size_t kMostEach = 1024;
  constexpr size_t kMostTogether = size_t{8} << 20;
  if (name.size() > kMostEach) {
    base::bad_input(
        "{}: tensor {}: expected a name of at most {} bytes", path_, printable(name), kMostEach);
  }
  bytes_ += name.size();
  if (bytes_ > kMostTogether) {
    base::bad_input("{}: expected names of tensors of at most {} bytes together, found more",
                    path_,
                    kMostTogether);
  }
}

}  // namespace ditmoe::formats
