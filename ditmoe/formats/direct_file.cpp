#include "ditmoe/formats/direct_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "ditmoe/base/error.h"

namespace ditmoe::formats {
namespace {

// Bytes of one request, and how many are under way at once: a disk answers several faster.
constexpr size_t kRequest = size_t{4} << 20;
constexpr size_t kRequests = 4;

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

struct DirectFile::Descriptor {
  std::string path;
  int fd = -1;
  bool direct = false;

  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }

  // Reads every kRequests-th request from number `first` on; returns errno, -1 for an early end.
  int read_some(uint64_t offset, std::span<std::byte> dst, size_t first) const {
    for (size_t begin = first * kRequest; begin < dst.size(); begin += kRequests * kRequest) {
      const size_t end = std::min(begin + kRequest, dst.size());
      for (size_t done = begin; done < end;) {
        const ssize_t got =
            ::pread(fd, dst.data() + done, end - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (got == 0) return -1;
        done += static_cast<size_t>(got);
      }
      if (!direct) {
        ::posix_fadvise(fd,
                        static_cast<off_t>(offset + begin),
                        static_cast<off_t>(end - begin),
                        POSIX_FADV_DONTNEED);
      }
    }
    return 0;
  }
};

DirectFile DirectFile::open(const std::string& path) {
  auto descriptor = std::make_shared<Descriptor>();
  descriptor->path = path;
  descriptor->fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  descriptor->direct = descriptor->fd >= 0;
  if (!descriptor->direct) descriptor->fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor->fd < 0) base::bad_input("{}: cannot be opened: {}", path, reason(errno));
  DirectFile file;
  file.descriptor_ = std::move(descriptor);
  return file;
}

bool DirectFile::is_direct() const { return descriptor_->direct; }

void DirectFile::read(uint64_t offset, std::span<std::byte> dst) const {
  std::array<int, kRequests> errors = {};
  const auto read_share = [&](size_t i) { errors[i] = descriptor_->read_some(offset, dst, i); };
  {
    std::array<std::jthread, kRequests> threads;
    for (size_t i = 1; i < kRequests && i * kRequest < dst.size(); ++i) {
      try {
        threads[i] = std::jthread(read_share, i);
      } catch (const std::system_error&) {
        read_share(i);
      }
    }
    read_share(0);
  }
  for (const int error : errors) {
    if (error == 0) continue;
    base::failure("{}: cannot be read: {}",
                  descriptor_->path,
                  error > 0 ? reason(error) : "it ends too early");
  }
}

}  // namespace ditmoe::formats
