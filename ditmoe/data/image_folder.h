#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ditmoe::data {

// The images of a folder: those in its subfolders, one for each class, or, where it has none, those
// directly in it. Images are files, or links to files, ending in .jpg, .jpeg, .png, .bmp, .ppm,
// .pgm, .tif, .tiff or .webp in small letters or capitals; whether they can be read shows later.
// Names that begin with a dot are passed over. Classes and images are in the order of torchvision's
// ImageFolder: classes by name, then by folder, then by name.
class ImageFolder {
 public:
  // Only lists. Throws bad_input for a missing or unreadable folder, one without images, a class
  // without images, images beside classes and folders nested more than 16 deep.
  static ImageFolder open(const std::string& root);

  const std::string& root() const { return root_; }

  int64_t size() const { return static_cast<int64_t>(names_.size()); }

  // Of the subfolders, sorted; empty where there are none.
  const std::vector<std::string>& class_names() const { return class_names_; }

  // The image's path below root.
  const std::string& name(int64_t index) const { return names_[static_cast<size_t>(index)]; }

  // What to open.
  std::string path(int64_t index) const { return root_ + "/" + name(index); }

  // Number of the class, or 0 (the null label of a network without classes).
  int32_t label(int64_t index) const { return labels_[static_cast<size_t>(index)]; }

  // 16 hexadecimal digits that differ where a name, a label or the size of a file in bytes does.
  // Looks at every file, but not into it: other contents of the same size give the same digits.
  std::string fingerprint() const;

 private:
  std::string root_;
  std::vector<std::string> class_names_;
  std::vector<std::string> names_;
  std::vector<int32_t> labels_;
};

}  // namespace ditmoe::data
