#include "ditmoe/data/corrupt_list.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <unistd.h>

#include "ditmoe/base/error.h"
#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"

namespace ditmoe::data {
namespace {

constexpr auto kLineEnd = std::byte{'\n'};

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string line_of(const CorruptImage& image) {
  const base::Json json = {{"image", image.name}, {"reason", image.reason}};
  return json.dump(-1, ' ', false, base::Json::error_handler_t::replace) + "\n";
}

std::optional<formats::MappedFile> open_list(const std::string& path) {
  std::error_code unreachable;
  if (!std::filesystem::exists(path, unreachable)) return std::nullopt;
  return formats::MappedFile::open(path);
}

}  // namespace

std::string corrupt_list_path(const std::string& folder) { return folder + "/corrupt.jsonl"; }

void append_to_corrupt_list(const std::string& folder, std::span<const CorruptImage> images) {
  if (images.empty()) return;
  std::string lines;
  for (const CorruptImage& image : images) lines += line_of(image);
  const std::string path = corrupt_list_path(folder);
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "abe"));
  if (file == nullptr || std::fwrite(lines.data(), 1, lines.size(), file.get()) != lines.size() ||
      std::fflush(file.get()) != 0 || ::fsync(::fileno(file.get())) != 0) {
    const int error = errno;
    base::failure("{}: cannot be written: {}", path, std::generic_category().message(error));
  }
}

int64_t corrupt_list_length(const std::string& folder) {
  const auto file = open_list(corrupt_list_path(folder));
  if (!file) return 0;
  const int64_t length = std::ranges::count(file->bytes(), kLineEnd);
  file->expect_whole();
  return length;
}

void cut_corrupt_list(const std::string& folder, int64_t length) {
  const std::string path = corrupt_list_path(folder);
  const auto file = open_list(path);
  if (!file) return;
  auto end = file->bytes().begin();
  for (int64_t line = 0; line < length; ++line) {
    end = std::find(end, file->bytes().end(), kLineEnd);
    if (end == file->bytes().end()) return;
    ++end;
  }
  if (end == file->bytes().end()) return;
  std::error_code error;
  std::filesystem::resize_file(path, static_cast<uintmax_t>(end - file->bytes().begin()), error);
  if (error) base::failure("{}: cannot be cut: {}", path, error.message());
}

}  // namespace ditmoe::data
