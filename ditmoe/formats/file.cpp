#include "ditmoe/formats/file.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <optional>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <tuple>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/mapping_guard.h"

namespace ditmoe::formats {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}

  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return descriptor_; }

  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

// Whether a file could not be opened for a reason that is none of the file's.
bool is_fault_of_machine(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EIO;
}

const char* kind_of(const struct stat& status) {
  return S_ISDIR(status.st_mode) ? "a folder" : "a pipe, socket or device";
}

// A name beside `path` that no other file of this process has.
std::string name_beside(const std::string& path) {
  static std::atomic<unsigned> count = 0;
  return fmt::format("{}.tmp.{}.{}", path, ::getpid(), count++);
}

// Creates a file that did not exist, with the permissions any new file gets (mkstemp's are
// narrower), and returns its name and descriptor.
std::pair<std::string, int> create_beside(const std::string& path) {
  while (true) {
    std::string name = name_beside(path);
    const int descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) return {std::move(name), descriptor};
    if (errno != EEXIST) base::failure("{}: cannot be written: {}", path, reason(errno));
  }
}

// A file of the folder without a name, which is gone with the process however that ends; -1 where
// the file system has none, or no name could be given to it.
int create_nameless(const std::string& folder) {
  if (::access("/proc/self/fd", X_OK) != 0) return -1;
  return ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
}

// Names a nameless file; returns the name, beside `path`.
std::string link_beside(const std::string& path, int descriptor) {
  const std::string nameless = fmt::format("/proc/self/fd/{}", descriptor);
  while (true) {
    std::string name = name_beside(path);
    const int linked =
        ::linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW);
    if (linked == 0) return name;
    if (errno != EEXIST) base::failure("{}: cannot be written: {}", path, reason(errno));
  }
}

// Makes the renaming itself survive a power cut. Some file systems refuse to sync a folder; the
// file is complete all the same.
void sync_folder(const std::string& folder) {
  const FileDescriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() >= 0) ::fsync(descriptor.get());
}

}  // namespace

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

struct MappedFile::Mapping {
  Mapping(std::string name, int file, const std::byte* begin, size_t bytes)
      : path(std::move(name)),
        descriptor(file),
        data(begin),
        size(bytes),
        guard(std::span(begin, bytes)) {}

  ~Mapping() {
    guard.reset();  // before the addresses can be somebody else's
    ::munmap(const_cast<std::byte*>(data), size);
  }

  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Pages that are gone read as zeros, and so does the end of the last page, unnoticed.
  bool is_whole() const {
    struct stat status = {};
    return !guard->lost() && ::fstat(descriptor.get(), &status) == 0 &&
           static_cast<size_t>(status.st_size) >= size;
  }

  std::string path;
  FileDescriptor descriptor;
  const std::byte* data;
  size_t size;
  std::optional<MappingGuard> guard;
};

MappedFile MappedFile::open(const std::string& path) {
  // Non-blocking, so that opening a pipe nobody writes to returns.
  FileDescriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) {
    const int error = errno;
    if (is_fault_of_machine(error)) base::failure("{}: cannot be opened: {}", path, reason(error));
    base::bad_input("{}: cannot be opened: {}", path, reason(error));
  }
  struct stat status = {};
  if (::fstat(descriptor.get(), &status) != 0) base::failure("{}: {}", path, reason(errno));
  if (!S_ISREG(status.st_mode)) {
    base::bad_input("{}: expected a regular file, found {}", path, kind_of(status));
  }
  MappedFile file;
  if (status.st_size == 0) return file;  // an empty mapping is an error to mmap
  const auto size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (data == MAP_FAILED) base::failure("{}: cannot be mapped: {}", path, reason(errno));
  file.mapping_ = std::make_shared<Mapping>(
      path, descriptor.release(), static_cast<const std::byte*>(data), size);
  file.bytes_ = {file.mapping_->data, size};
  return file;
}

MappedFile MappedFile::over(std::span<const std::byte> bytes) {
  MappedFile file;
  file.bytes_ = bytes;
  return file;
}

void MappedFile::expect_whole() const {
  if (mapping_ == nullptr || mapping_->is_whole()) return;
  base::bad_input("{}: became shorter, or could not be read, while it was in use", mapping_->path);
}

bool MappedFile::contains(std::span<const std::byte> part) const {
  const auto begin = reinterpret_cast<uintptr_t>(bytes().data());
  const auto first = reinterpret_cast<uintptr_t>(part.data());
  return first >= begin && first - begin <= bytes().size() &&
         part.size() <= bytes().size() - (first - begin);
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (mapping_ == nullptr) return;
  static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  DITMOE_ASSERT(contains(part));
  const auto begin = static_cast<size_t>(part.data() - bytes().data());
  const size_t first = (begin + page - 1) / page * page;
  const size_t last = (begin + part.size()) / page * page;
  if (first >= last) return;
  ::madvise(const_cast<std::byte*>(bytes().data()) + first, last - first, MADV_DONTNEED);
}

AtomicFile::AtomicFile(std::string path) : AtomicFile(path, folder_of(path)) {}

AtomicFile::AtomicFile(std::string path, const std::string& staging) : path_(std::move(path)) {
  struct stat status = {};
  if (::stat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    base::failure("{}: cannot be written: exists and is not a regular file", path_);
  }
  int descriptor = create_nameless(staging);
  if (descriptor < 0) {
    const std::string name = path_.substr(path_.rfind('/') + 1);
    std::tie(temporary_, descriptor) = create_beside(fmt::format("{}/{}", staging, name));
  }
  file_ = ::fdopen(descriptor, "wb");
  if (file_ == nullptr) {
    const int error = errno;
    ::close(descriptor);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    base::failure("{}: cannot be written: {}", path_, reason(error));
  }
}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  DITMOE_ASSERT(file_ != nullptr);
  if (bytes.empty()) return;
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) {
    base::failure("{}: cannot be written: {}", path_, reason(errno));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

std::FILE* AtomicFile::stream() { return file_; }

void AtomicFile::commit() {
  DITMOE_ASSERT(file_ != nullptr);
  if (std::fflush(file_) != 0 || std::ferror(file_) != 0 || ::fsync(::fileno(file_)) != 0) {
    base::failure("{}: cannot be written: {}", path_, reason(errno));
  }
  if (temporary_.empty()) temporary_ = link_beside(path_, ::fileno(file_));
  if (std::fclose(std::exchange(file_, nullptr)) != 0) {
    base::failure("{}: cannot be written: {}", path_, reason(errno));
  }
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    base::failure("{}: cannot be written: {}", path_, reason(errno));
  }
  temporary_.clear();
  sync_folder(folder_of(path_));
}

void expect_writable(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    base::bad_input("{}: expected the name of a file to write, found {}", path, kind_of(status));
  }
  const std::string folder = folder_of(path);
  if (::stat(folder.c_str(), &status) != 0) {
    base::bad_input("{}: the folder {} cannot be reached: {}", path, folder, reason(errno));
  }
  if (!S_ISDIR(status.st_mode)) base::bad_input("{}: {} is not a folder", path, folder);
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    base::bad_input("{}: cannot write to {}: {}", path, folder, reason(errno));
  }
}

std::string read_text(const std::string& path, size_t max_bytes) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  if (bytes.size() > max_bytes) {
    base::bad_input("{}: expected at most {} bytes, found {}", path, max_bytes, bytes.size());
  }
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  file.expect_whole();
  return text;
}

void write_text(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace ditmoe::formats
