#include "ditmoe/formats/folder.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>

#include "ditmoe/base/error.h"

namespace ditmoe::formats {
namespace {

namespace fs = std::filesystem;

std::string message_of(int error) { return std::generic_category().message(error); }

// As far as the file system can, and lets us.
void sync(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  for (const int harmless : {0, EINVAL, EBADF, ENOSYS, ENOTSUP}) {
    if (error == harmless) return;
  }
  base::failure("{}: cannot be synced: {}", folder, message_of(error));
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) base::failure("{}: cannot be read: {}", folder.string(), error.message());
  std::ranges::sort(names);
  return names;
}

}  // namespace

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

void expect_usable_name(const std::string& path) {
  if (path.empty()) base::bad_input("\"\": expected the name of a file or folder, found none");
  // The file system knows how long is too long.
  const std::string longest = fmt::format("{}.tmp.{}.9999", path, ::getpid());
  struct stat status = {};
  if (::lstat(longest.c_str(), &status) == 0 || errno != ENAMETOOLONG) return;
  base::bad_input("{}: expected a shorter name: {}", path, message_of(ENAMETOOLONG));
}

void expect_none_of(const std::string& path, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    std::error_code ignored;  // of names that are no file
    if (!fs::equivalent(path, input, ignored)) continue;
    base::bad_input("{}: would replace {}, which is read; write to another", path, input);
  }
}

std::string make_folder_beside(const std::string& path) {
  for (unsigned count = 0;; ++count) {
    std::string name = fmt::format("{}.tmp.{}.{}", path, ::getpid(), count);
    if (::mkdir(name.c_str(), 0777) == 0) return name;
    // Another process may have left one, with the number that this one has now.
    if (errno != EEXIST) base::failure("{}: cannot be made: {}", name, message_of(errno));
  }
}

void rename_folder(const std::string& from, const std::string& to) {
  sync(from);
  std::error_code error;
  if (fs::exists(fs::symlink_status(to, error))) base::failure("{}: exists already", to);
  fs::rename(from, to, error);
  if (error) base::failure("{}: cannot be renamed to {}: {}", from, to, error.message());
  const std::string parent = fs::path(to).parent_path().string();
  sync(parent.empty() ? "." : parent);
}

void move_up(const std::string& folder) {
  const fs::path parent = fs::path(folder).parent_path();
  const size_t names = names_in(parent).size();
  if (names > 1) {
    base::failure("{}: expected {} to be alone in it, found {} names",
                  parent.string(),
                  fs::path(folder).filename().string(),
                  names);
  }
  std::error_code error;
  for (const std::string& name : names_in(folder)) {
    fs::rename(fs::path(folder) / name, parent / name, error);
    if (!error) continue;
    base::failure("{}: cannot be put in place: {}", (parent / name).string(), error.message());
  }
  fs::remove(folder, error);
  if (error) base::failure("{}: cannot be removed: {}", folder, error.message());
  sync(parent.string());
}

FolderLock::FolderLock(const std::string& folder) {
  descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0) base::failure("{}: cannot be opened: {}", folder, message_of(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  ::close(descriptor_);
  if (error == EWOULDBLOCK) base::bad_input("{}: in use by another process", folder);
  base::failure("{}: cannot be locked: {}", folder, message_of(error));
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace ditmoe::formats
