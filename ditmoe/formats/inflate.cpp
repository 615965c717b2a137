#include "ditmoe/formats/inflate.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <zlib.h>

#include "ditmoe/base/error.h"

namespace ditmoe::formats {

struct Inflater::Stream {
  z_stream z = {};
  std::span<const std::byte> compressed;
  std::string place;
  bool ended = false;

  size_t consumed() const {
    return static_cast<size_t>(reinterpret_cast<const std::byte*>(z.next_in) - compressed.data());
  }

  // zlib counts in 32 bits: hand over the rest of the input in pieces of at most 1 GiB.
  void refill() {
    constexpr size_t kPiece = size_t{1} << 30;
    if (z.avail_in == 0) {
      z.avail_in = static_cast<uInt>(std::min(compressed.size() - consumed(), kPiece));
    }
  }
};

Inflater::Inflater(std::span<const std::byte> compressed, Wrapping wrapping, std::string place)
    : stream_(std::make_unique<Stream>()) {
  stream_->compressed = compressed;
  stream_->place = std::move(place);
  stream_->z.next_in =
      const_cast<Bytef*>(reinterpret_cast<const Bytef*>(compressed.data()));  // zlib only reads it
  const int window_bits = wrapping == Wrapping::kGzip   ? 16 + MAX_WBITS
                          : wrapping == Wrapping::kZlib ? MAX_WBITS
                                                        : -MAX_WBITS;
  if (inflateInit2(&stream_->z, window_bits) != Z_OK) {
    base::failure("{}: out of memory for decompression", stream_->place);
  }
}

Inflater::~Inflater() { inflateEnd(&stream_->z); }

size_t Inflater::read(std::span<std::byte> out) {
  constexpr size_t kPiece = size_t{1} << 30;
  Stream& stream = *stream_;
  size_t written = 0;
  while (written < out.size() && !stream.ended) {
    stream.refill();
    const size_t piece = std::min(out.size() - written, kPiece);
    stream.z.next_out = reinterpret_cast<Bytef*>(out.data() + written);
    stream.z.avail_out = static_cast<uInt>(piece);
    const int status = inflate(&stream.z, Z_NO_FLUSH);
    written += piece - stream.z.avail_out;
    if (status == Z_STREAM_END) {
      stream.ended = true;
    } else if (status == Z_BUF_ERROR) {
      base::bad_input("{}: compressed byte {}: expected more data, found the end",
                      stream.place,
                      stream.consumed());
    } else if (status != Z_OK) {
      base::bad_input("{}: compressed byte {}: damaged deflate stream ({})",
                      stream.place,
                      stream.consumed(),
                      stream.z.msg != nullptr ? stream.z.msg : "no detail");
    }
  }
  return written;
}

bool Inflater::finish() {
  std::byte beyond;
  if (read({&beyond, 1}) != 0) return false;
  return stream_->consumed() == stream_->compressed.size();
}

}  // namespace ditmoe::formats
