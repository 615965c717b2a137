#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace ditmoe::formats {

// Decompresses a deflate stream held in memory into buffers of the caller's choosing.
class Inflater {
 public:
  enum class Wrapping { kRaw, kZlib, kGzip };

  // place names the stream in messages. compressed must outlive the object.
  Inflater(std::span<const std::byte> compressed, Wrapping wrapping, std::string place);
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Decompresses until out is full or the stream ends, and returns how many bytes that gave.
  // Throws bad_input with the byte offset within compressed for damage.
  size_t read(std::span<std::byte> out);

  // True once the end of the stream (and the checksum of gzip and zlib) was met and nothing follows
  // it. Call when all expected bytes were read.
  bool finish();

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

}  // namespace ditmoe::formats
