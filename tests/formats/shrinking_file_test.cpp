// Files that change while they are read: the reader returns or refuses, and never crashes.

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>

#include "ditmoe/formats/idx.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/formats/tensor_file.h"

#include "idx_bytes.h"
#include "malformed.h"
#include "temp_dir.h"
#include "torch_bytes.h"

namespace ditmoe::formats {
namespace {

using base::Tensor;
using test::pickled_text;
using test::PickledTensor;
using test::TempDir;
using test::torch_file_of;

struct Reader {
  std::string name;
  void (*write)(const std::string& path);
  void (*read)(const std::string& path);
};

void PrintTo(const Reader& reader, std::ostream* out) { *out << reader.name; }

// Larger than a few pages, and of no pattern.
Tensor noise() {
  Tensor tensor(base::DType::kU8, {300'000});
  uint32_t state = 1;
  for (uint8_t& value : tensor.as<uint8_t>()) {
    state = state * 1664525 + 1013904223;
    value = static_cast<uint8_t>(state >> 24);
  }
  return tensor;
}

void write_idx(const std::string& path) {
  const Tensor tensor = noise();
  const auto values = tensor.as<uint8_t>();
  std::ofstream(path, std::ios::binary)
      << test::idx_header(8, {300'000}) << std::string(values.begin(), values.end());
}

void write_image(const std::string& path) {
  Image image{1000, 100, 3, {}, {}};
  const Tensor tensor = noise();
  const auto values = tensor.as<uint8_t>();
  image.pixels_HWC.assign(values.begin(), values.end());
  write_png(path, image);
}

void read_all_tensors(const std::string& path) {
  const auto file = SafetensorsFile::open(path);
  const base::TensorView view = file.view("t");
  const std::vector<std::byte> copy(view.data, view.data + view.bytes());
  EXPECT_EQ(copy.size(), 300'000U);
  file.expect_whole();
}

// Thousands of names of one tensor, so that reading them takes a while.
std::string many_names(const PickledTensor& tensor = {}) {
  std::string opcodes = tensor.opcodes() + "q\x01" + "0}(";
  for (int i = 0; i < 5000; ++i) opcodes += pickled_text(std::to_string(i)) + "h\x01";
  return opcodes + "u";
}

void write_torch(const std::string& path) {
  std::ofstream(path, std::ios::binary) << torch_file_of(many_names(), test::counted_floats(2));
}

void write_torch_legacy(const std::string& path) {
  const std::string names = many_names({.storage = test::LegacyFile{}.tensor_storage()});
  std::ofstream(path, std::ios::binary) << test::LegacyFile{.checkpoint = names}.bytes();
}

const std::vector<Reader> kReaders = {
    {"Idx", write_idx, [](const std::string& path) { read_idx(path); }},
    {"Npz",
     [](const std::string& path) {
       const Tensor tensor = noise();
       write_npz(path, {{"t", tensor.view()}});
     },
     [](const std::string& path) { read_npz(path); }},
    {"Png", write_image, [](const std::string& path) { read_png(path); }},
    {"Safetensors",
     [](const std::string& path) {
       const Tensor tensor = noise();
       write_safetensors(path, {{"t", tensor.view()}});
     },
     read_all_tensors},
    {"Torch", write_torch, [](const std::string& path) { TensorFile::open(path); }},
    {"TorchLegacy", write_torch_legacy, [](const std::string& path) { TensorFile::open(path); }},
};

class ShrinkingFileTest : public testing::TestWithParam<Reader> {};

// Overwritten in place, what is read may be anything, but nothing worse.
TEST_P(ShrinkingFileTest, ReadingWhatIsOverwrittenEnds) {
  const TempDir dir;
  const std::string path = dir.file("a");
  GetParam().write(path);
  const std::string whole = test::bytes_of(path);
  std::atomic<size_t> rounds = 0;
  const std::jthread other([&](const std::stop_token& stop) {
    for (size_t i = 0; !stop.stop_requested(); rounds = ++i) {
      std::ofstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>((i * 7919) % whole.size()));
      file << std::string(2000, 'x') << std::flush;
      std::this_thread::yield();
      file.seekp(0);
      file << whole;
    }
  });
  for (int i = 0; i < 200 || rounds < 100; ++i) {
    try {
      GetParam().read(path);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput) << error.what();
    }
  }
}

TEST_P(ShrinkingFileTest, IsReadOrRefused) {
  const TempDir dir;
  const std::string path = dir.file("a");
  GetParam().write(path);
  const std::string whole = test::bytes_of(path);
  std::atomic<bool> done = false;
  // In place, unlike every writer of ours.
  std::thread other([&] {
    for (size_t i = 0; !done; ++i) {
      std::filesystem::resize_file(path, (i * 7919) % whole.size());
      std::this_thread::yield();
      std::ofstream(path, std::ios::binary | std::ios::in | std::ios::out) << whole;
    }
  });
  int refused = 0;
  // On a busy machine the other thread may not have run yet.
  for (int i = 0; i < 300 || (refused == 0 && i < 100'000); ++i) {
    try {
      GetParam().read(path);
    } catch (const base::Error& error) {
      ++refused;
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput) << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with(path)) << error.what();
    }
  }
  done = true;
  other.join();
  EXPECT_GT(refused, 0);  // else nothing was tested
  GetParam().write(path);
  GetParam().read(path);
}

INSTANTIATE_TEST_SUITE_P(Of, ShrinkingFileTest, testing::ValuesIn(kReaders), test::name_of_case);

}  // namespace
}  // namespace ditmoe::formats
