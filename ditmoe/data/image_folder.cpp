#include "ditmoe/data/image_folder.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/text.h"

namespace ditmoe::data {
namespace {

namespace fs = std::filesystem;
using base::bad_input;

constexpr int kMaxDepth = 16;

bool is_image_name(std::string_view name) {
  constexpr std::array<std::string_view, 9> kEndings = {
      ".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"};
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string ending(name.substr(dot));
  for (char& c : ending) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return std::ranges::find(kEndings, ending) != kEndings.end();
}

// What one folder holds, each sorted.
struct Listing {
  std::vector<std::string> folders;
  std::vector<std::string> images;
};

Listing list(const std::string& path) {
  std::error_code error;
  fs::directory_iterator entry(path, error);
  Listing listing;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name.starts_with('.')) continue;
    std::error_code unreachable;  // a broken link counts as what its name says
    if (entry->is_directory(unreachable)) {
      listing.folders.push_back(std::move(name));
    } else if (is_image_name(name)) {
      listing.images.push_back(std::move(name));
    }
  }
  if (error) bad_input("{}: cannot be listed: {}", path, error.message());
  std::ranges::sort(listing.folders);
  std::ranges::sort(listing.images);
  return listing;
}

// A folder of a class and the names of the images in it.
using Found = std::pair<std::string, std::vector<std::string>>;

void find_images(const std::string& root,
                 const std::string& folder,
                 int depth,
                 std::vector<Found>& found) {
  if (depth > kMaxDepth) {
    bad_input("{}/{}: expected folders nested at most {} deep; does a link point back?",
              root,
              folder,
              kMaxDepth);
  }
  Listing listing = list(root + "/" + folder);
  if (!listing.images.empty()) found.emplace_back(folder, std::move(listing.images));
  for (const std::string& name : listing.folders) {
    find_images(root, folder + "/" + name, depth + 1, found);
  }
}

}  // namespace

ImageFolder ImageFolder::open(const std::string& root) {
  ImageFolder result;
  result.root_ = root;
  std::error_code unreachable;
  if (!fs::is_directory(root, unreachable)) bad_input("{}: expected a folder of images", root);
  Listing top = list(root);
  if (!top.folders.empty() && !top.images.empty()) {
    bad_input("{}: expected images or a folder for each class, found both: {} and {}",
              root,
              formats::printable(top.images.front()),
              formats::printable(top.folders.front()));
  }
  if (top.folders.empty()) {
    result.names_ = std::move(top.images);
    result.labels_.assign(result.names_.size(), 0);
    if (result.names_.empty()) bad_input("{}: expected images, found none", root);
    return result;
  }
  result.class_names_ = std::move(top.folders);
  for (const std::string& name : result.class_names_) {
    if (!formats::is_utf8(name)) {
      bad_input("{}: expected names of classes in UTF-8, found {}", root, formats::printable(name));
    }
  }
  for (size_t label = 0; label < result.class_names_.size(); ++label) {
    std::vector<Found> found;
    find_images(root, result.class_names_[label], 1, found);
    if (found.empty()) {
      bad_input(
          "{}/{}: expected images of this class, found none", root, result.class_names_[label]);
    }
    std::ranges::sort(found);
    for (const auto& [folder, images] : found) {
      for (const std::string& image : images) {
        result.names_.push_back(folder + "/" + image);
        result.labels_.push_back(static_cast<int32_t>(label));
      }
    }
  }
  return result;
}

std::string ImageFolder::fingerprint() const {
  formats::Hasher64 hasher;
  for (int64_t i = 0; i < size(); ++i) {
    std::error_code error;
    const uintmax_t bytes = fs::file_size(path(i), error);
    // A name has no zero byte, so no two lists give the same bytes.
    std::string line = name(i);
    line += '\0';
    line += fmt::format("{} {}\n", label(i), error ? "none" : std::to_string(bytes));
    hasher.update(std::as_bytes(std::span(line)));
  }
  return fmt::format("{:016x}", hasher.digest());
}

}  // namespace ditmoe::data
