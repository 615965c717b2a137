#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::formats::test {

// A folder that lives as long as the object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ditmoe-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }

  ~TempDir() { std::filesystem::remove_all(path_); }

  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }

  std::string file(const std::string& name) const { return (path_ / name).string(); }

  // Writes bytes under name and returns the path.
  std::string put(const std::string& name, std::string_view bytes) const {
    std::ofstream(file(name), std::ios::binary) << bytes;
    return file(name);
  }

  size_t count() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Expects action to throw an Error of this kind, in one line that begins so and contains fragment.
template <typename Action>
void expect_error(Action&& action,
                  base::ErrorKind kind,
                  const std::string& fragment,
                  const std::string& beginning = "") {
  try {
    action();
  } catch (const base::Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), kind) << message;
    EXPECT_TRUE(message.starts_with(beginning)) << message << "\nbegins not: " << beginning;
    EXPECT_NE(message.find(fragment), std::string::npos) << message << "\nlacks: " << fragment;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 2000U);
    return;
  }
  ADD_FAILURE() << "no error, expected one with: " << fragment;
}

}  // namespace ditmoe::formats::test
