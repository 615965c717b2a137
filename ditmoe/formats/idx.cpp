#include "ditmoe/formats/idx.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/inflate.h"

namespace ditmoe::formats {
namespace {

using base::bad_input;

// The content of a file that may be gzip'd, from front to back.
class Content {
 public:
  Content(std::span<const std::byte> file, const std::string& path) : rest_(file), path_(path) {
    const bool gzipped =
        file.size() >= 2 && file[0] == std::byte{0x1F} && file[1] == std::byte{0x8B};
    if (!gzipped) return;
    inflater_ = std::make_unique<Inflater>(file, Inflater::Wrapping::kGzip, path);
    most_bytes_ = file.size() * kMaxInflation;
  }

  // Bytes that can be left at most: all that is needed to refuse a size no content can have.
  uint64_t most_remaining() const { return inflater_ != nullptr ? most_bytes_ : rest_.size(); }

  void read(std::span<std::byte> out) {
    size_t found = 0;
    if (inflater_ != nullptr) {
      found = inflater_->read(out);
    } else {
      found = std::min(out.size(), rest_.size());
      if (found > 0) std::memcpy(out.data(), rest_.data(), found);
      rest_ = rest_.subspan(found);
    }
    if (found != out.size()) {
      bad_input(
          "{}: byte {}: expected {} more bytes, found {}", path_, position_, out.size(), found);
    }
    position_ += found;
  }

  void finish() {
    if (inflater_ != nullptr ? !inflater_->finish() : !rest_.empty()) {
      bad_input("{}: byte {}: expected the end of the data, found more", path_, position_);
    }
  }

 private:
  std::span<const std::byte> rest_;
  const std::string& path_;
  std::unique_ptr<Inflater> inflater_;
  uint64_t most_bytes_ = 0;
  uint64_t position_ = 0;
};

int64_t big_endian(const std::byte* bytes) {
  int64_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | std::to_integer<int64_t>(bytes[i]);
  return value;
}

// Reads the header and leaves content where the data begin.
base::Shape read_shape(Content& content, const std::string& path) {
  constexpr auto kUnsignedBytes = std::byte{0x08};
  std::array<std::byte, 4> magic = {};
  content.read(magic);
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0} || magic[2] != kUnsignedBytes) {
    bad_input("{}: byte 0: expected 00 00 08 (IDX of unsigned bytes), found {:02x} {:02x} {:02x}",
              path,
              std::to_integer<int>(magic[0]),
              std::to_integer<int>(magic[1]),
              std::to_integer<int>(magic[2]));
  }
  const auto rank = std::to_integer<size_t>(magic[3]);
  if (rank == 0 || rank > kMaxRank) {
    bad_input("{}: byte 3: expected 1 to {} dimensions, found {}", path, kMaxRank, rank);
  }
  base::Shape shape;
  for (size_t axis = 0; axis < rank; ++axis) {
    std::array<std::byte, 4> dim = {};
    content.read(dim);
    shape.push_back(big_endian(dim.data()));
  }
  const auto bytes = tensor_bytes(shape, base::DType::kU8);
  if (!bytes || *bytes > content.most_remaining()) {
    bad_input(
        "{}: byte 4: {} elements are more than the file can hold", path, base::to_string(shape));
  }
  return shape;
}

// Reads the whole file and keeps nothing.
void check_content(std::span<const std::byte> file, const std::string& path) {
  Content content(file, path);
  auto left = static_cast<uint64_t>(base::num_elements(read_shape(content, path)));
  std::vector<std::byte> buffer(size_t{1} << 16);
  while (left > 0) {
    const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), left));
    content.read(piece);
    left -= piece.size();
  }
  content.finish();
}

}  // namespace

base::Tensor read_idx(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  base::Tensor tensor = read_idx(file.bytes(), path);
  file.expect_whole();
  return tensor;
}

base::Tensor read_idx(std::span<const std::byte> file, const std::string& path) {
  Content content(file, path);
  base::Shape shape = read_shape(content, path);
  if (static_cast<uint64_t>(base::num_elements(shape)) > file.size() + kMaxUnproven) {
    check_content(file, path);
  }
  base::Tensor tensor(base::DType::kU8, std::move(shape));
  content.read({tensor.data(), tensor.bytes()});
  content.finish();
  return tensor;
}

}  // namespace ditmoe::formats
