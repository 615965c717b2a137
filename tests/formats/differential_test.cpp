// Thousands of whole files against Python: what NumPy, zipfile and a plain reading of the
// safetensors rules write is read bit for bit, and what we write is read by them.

#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <sys/wait.h>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "ditmoe/base/sha256.h"
#include "ditmoe/formats/idx.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/safetensors.h"

#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::Tensor;
using test::TempDir;

constexpr int kFiles = 1000;  // of each format
constexpr int kNoNumPy = 77;

// Runs a script of tests/oracle and returns its exit code.
int run_python(const std::string& script, const std::string& arguments) {
  const std::string command =
      fmt::format("/usr/bin/python3 -B {}/{} {}", DITMOE_TEST_ORACLE, script, arguments);
  return WEXITSTATUS(std::system(command.c_str()));
}

// Name, as hex, to "dtype <tab> shape <tab> SHA-256 of the data".
using Summary = std::map<std::string, std::string>;

std::string hex(const std::string& text) {
  std::string out;
  for (const char c : text) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::string summary_of(const base::TensorView& view) {
  return fmt::format("{}\t{}\t{}",
                     base::name_of(view.dtype),
                     fmt::join(view.shape, ","),
                     base::sha256_hex({view.data, view.bytes()}));
}

Summary read_file(const std::string& path) {
  Summary summary;
  if (path.ends_with(".idx")) {
    const Tensor tensor = read_idx(path);
    summary[""] = summary_of(tensor.view());
  } else if (path.ends_with(".npz")) {
    for (const auto& [name, tensor] : read_npz(path)) {
      summary[hex(name)] = summary_of(tensor.view());
    }
  } else {
    const auto file = SafetensorsFile::open(path);
    for (const auto& entry : file.entries()) {
      summary[hex(entry.name)] = summary_of(file.view(entry.name));
    }
  }
  return summary;
}

TEST(DifferentialTest, FilesOfPythonAreReadBitForBit) {
  const TempDir dir;
  const int status =
      run_python("write_archives.py", fmt::format("{} {}", dir.path().string(), kFiles));
  if (status == kNoNumPy) GTEST_SKIP() << "python3-numpy is not installed";
  ASSERT_EQ(status, 0);
  std::ifstream manifest(dir.file("manifest.txt"));
  Summary expected;
  int read = 0;
  int refused = 0;
  for (std::string line; std::getline(manifest, line);) {
    const size_t tab = line.find('\t');
    const std::string path = dir.file(line.substr(0, tab));
    const std::string rest = line.substr(tab + 1);
    if (rest == "refused") {
      test::expect_error([&] { read_file(path); }, base::ErrorKind::kBadInput, "", path + ": ");
      ++refused;
    } else if (rest == "end") {
      EXPECT_EQ(read_file(path), std::exchange(expected, {})) << path;
      ++read;
    } else {
      const size_t second_tab = rest.find('\t');
      expected[rest.substr(0, second_tab)] = rest.substr(second_tab + 1);
    }
  }
  EXPECT_EQ(read, 3 * kFiles);
  EXPECT_EQ(refused, kFiles / 10);
}

// Draws tensors whose every value is legal for its type.
class Draw {
 public:
  int64_t number(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(engine_);
  }

  Tensor tensor(bool with_bf16) {
    constexpr std::array kDTypes = {DType::kF64,
                                    DType::kF32,
                                    DType::kF16,
                                    DType::kI64,
                                    DType::kI32,
                                    DType::kI16,
                                    DType::kI8,
                                    DType::kU8,
                                    DType::kBool,
                                    DType::kBF16};
    const DType dtype = kDTypes[static_cast<size_t>(number(0, with_bf16 ? 9 : 8))];
    base::Shape shape(static_cast<size_t>(number(0, 5)));
    for (int64_t& dim : shape) dim = number(number(0, 3) == 0 ? 0 : 1, 5);
    Tensor result(dtype, shape);
    const int64_t largest = dtype == DType::kBool ? 1 : 255;
    for (size_t i = 0; i < result.bytes(); ++i) result.data()[i] = std::byte(number(0, largest));
    return result;
  }

  std::string name() {
    static const std::vector<std::string> kPieces = {
        "a", "B", "7", ".", "_", "-", "/", " ", "\u00e9", "\u5c65", "\U0001F45F", "weight"};
    std::string out;
    for (int64_t i = number(1, 8); i > 0; --i) {
      out += kPieces[static_cast<size_t>(number(0, static_cast<int64_t>(kPieces.size()) - 1))];
    }
    return out;
  }

 private:
  std::mt19937_64 engine_{1};
};

TEST(DifferentialTest, WhatWeWriteIsReadByPython) {
  const TempDir dir;
  Draw draw;
  std::ofstream manifest(dir.file("manifest.txt"));
  for (int i = 0; i < kFiles; ++i) {
    const bool npz = i % 2 == 0;
    const std::string file = fmt::format("{}.{}", i, npz ? "npz" : "safetensors");
    std::map<std::string, Tensor> tensors;
    for (int64_t left = draw.number(0, 5); left > 0; --left) {
      tensors.insert_or_assign(draw.name(), draw.tensor(!npz));
    }
    NamedTensors views;
    for (const auto& [name, tensor] : tensors) {
      views.emplace_back(name, tensor.view());
      manifest << fmt::format("{}\t{}\t{}\n", file, hex(name), summary_of(tensor.view()));
    }
    if (npz) {
      write_npz(dir.file(file), views);
    } else {
      write_safetensors(dir.file(file), views, {{draw.name(), draw.name()}});
    }
  }
  manifest.close();
  const int status = run_python("read_archives.py", dir.path().string());
  if (status == kNoNumPy) GTEST_SKIP() << "python3-numpy is not installed";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ditmoe::formats
