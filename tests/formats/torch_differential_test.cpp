#include <cstdlib>
#include <sys/wait.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/formats/tensor_file.h"

#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

// The bytes of expected.bin that a tensor of the manifest should have.
std::string_view expected_bytes(std::string_view all, const base::Json& tensor) {
  return all.substr(tensor[3].get<size_t>(), tensor[4].get<size_t>());
}

void expect_file(const std::string& path, const base::Json& entry, std::string_view expected) {
  const auto weights = entry.at("weights").get<std::string>();
  const auto file = TensorFile::open(
      path, weights.empty() ? std::nullopt : std::optional(weight_set_from(weights, "manifest")));
  ASSERT_EQ(file->entries().size(), entry.at("tensors").size());
  for (const base::Json& tensor : entry.at("tensors")) {
    const auto name = tensor[0].get<std::string>();
    const base::TensorView view = file->view(name);
    ASSERT_EQ(base::name_of(view.dtype), tensor[1].get<std::string>()) << name;
    ASSERT_EQ(view.shape, tensor[2].get<base::Shape>()) << name;
    const std::string_view found(reinterpret_cast<const char*>(view.data), view.bytes());
    ASSERT_TRUE(found == expected_bytes(expected, tensor)) << name;
  }
}

// Thousands of files written by PyTorch itself: any element type, strides, shared storages,
// parameters, layouts, protocols, and objects of all kinds beside the weights.
TEST(TorchDifferentialTest, FilesOfTorchSaveReadAsTheyWereWritten) {
  const test::TempDir dir;
  const std::string command =
      fmt::format("/usr/bin/python3 -B {}/write_checkpoints.py {} --count 3000",
                  DITMOE_ORACLE,
                  dir.path().string());
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)) {
    GTEST_SKIP() << "python3-torch is not installed";
  }
  ASSERT_EQ(status, 0);
  const base::Json manifest = base::parse_json(read_text(dir.file("manifest.json")), "manifest");
  ASSERT_EQ(manifest.size(), 3000U);
  const std::string expected = test::bytes_of(dir.file("expected.bin"));
  for (const base::Json& entry : manifest) {
    const auto name = entry.at("file").get<std::string>();
    SCOPED_TRACE(name);
    ASSERT_NO_FATAL_FAILURE(expect_file(dir.file(name), entry, expected));
  }
}

}  // namespace
}  // namespace ditmoe::formats
