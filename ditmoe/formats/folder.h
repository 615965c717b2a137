#pragma once

#include <string>

namespace ditmoe::formats {

// Gives a finished folder its final name so that it survives a power cut: syncs it, renames it,
// syncs the folder it stands in. to must not exist. Throws failure naming the path.
void rename_folder(const std::string& from, const std::string& to);

// Holds a folder for one process: another that tries gets bad_input naming the folder. Released on
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
