#include "ditmoe/formats/folder.h"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>

#include "ditmoe/base/error.h"

namespace ditmoe::formats {
namespace {

std::string last_error() { return std::generic_category().message(errno); }

void sync(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) base::failure("{}: cannot be opened: {}", folder, last_error());
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

void rename_folder(const std::string& from, const std::string& to) {
  sync(from);
  if (std::filesystem::exists(to)) base::failure("{}: exists already", to);
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error) base::failure("{}: cannot be renamed to {}: {}", from, to, error.message());
  const std::string parent = std::filesystem::path(to).parent_path().string();
  sync(parent.empty() ? "." : parent);
}

FolderLock::FolderLock(const std::string& folder) {
  descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) base::failure("{}: cannot be opened: {}", folder, last_error());
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    ::close(descriptor_);
    base::bad_input("{}: in use by another process", folder);
  }
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace ditmoe::formats
