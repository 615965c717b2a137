#pragma once

#include <string>
#include <vector>

namespace ditmoe::formats {

// "a/b/" is "a/b".
std::string without_slashes(std::string path);

// Throws bad_input where `path` is empty, or so long that the temporary name beside it, under which
// files and folders are written, could not be.
void expect_usable_name(const std::string& path);

// Throws bad_input where `path` is one of these files, by whatever name: it must not be replaced
// while it is read, nor lost.
void expect_none_of(const std::string& path, const std::vector<std::string>& inputs);

// Makes a folder beside `path`, of a name that nothing had, and returns it. Throws failure naming
// what could not be made.
std::string make_folder_beside(const std::string& path);

// Gives a finished folder its final name so that it survives a power cut: syncs it, renames it,
// syncs the folder it stands in; file systems that cannot sync folders are let be. Nothing of the
// name `to` may exist, not even a link to nothing. Throws failure naming the path.
void rename_folder(const std::string& from, const std::string& to);

// Moves all that a folder holds into the one it stands in, in the order of names, removes it and
// syncs. Throws failure naming the path, before anything is moved where it does not stand there
// alone.
void move_up(const std::string& folder);

// Holds a folder for one process: another that tries gets bad_input naming the folder. Throws
// failure where the folder cannot be opened or the file system has no locks. Released on
// destruction or when the process ends, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace ditmoe::formats
