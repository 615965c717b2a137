#include "ditmoe/formats/tensor_file.h"

#include <array>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/formats/safetensors.h"

#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::ErrorKind;
using base::Tensor;
using test::expect_error;
using test::TempDir;

// A folder with the shards and the index of a model of three tensors.
class ShardedTest : public ::testing::Test {
 protected:
  ShardedTest() {
    write_safetensors(
        dir_.file("one.safetensors"), {{"a", a_.view()}, {"b", b_.view()}}, {{"x", "1"}});
    write_safetensors(dir_.file("two.safetensors"), {{"c", c_.view()}}, {{"x", "1"}, {"y", "2"}});
  }

  std::string put_index(const std::string& map) const {
    return dir_.put("model.safetensors.index.json",
                    fmt::format(R"({{"metadata": {{"total_size": 20}}, "weight_map": {}}})", map));
  }

  std::string put_index() const {
    return put_index(R"({"a":"one.safetensors","c":"two.safetensors","b":"one.safetensors"})");
  }

  void expect_refused(const std::string& path, const std::string& message) const {
    expect_error([&] { TensorFile::open(path); }, ErrorKind::kBadInput, message);
  }

  TempDir dir_;
  Tensor a_ = Tensor::from({2}, std::array{1.0F, 2.0F});
  Tensor b_ = Tensor::from({1}, std::array{3.0F});
  Tensor c_ = Tensor::from({1, 2}, std::array{4.0F, 5.0F});
};

TEST(TensorFileTest, SafetensorsOpenWhateverTheirName) {
  const TempDir dir;
  const Tensor weights = Tensor::from({2}, std::array{1.0F, 2.0F});
  const std::string path = dir.file("weights.pt");
  write_safetensors(path, {{"w", weights.view()}}, {{"format", "pt"}});
  const auto file = TensorFile::open(path);
  EXPECT_EQ(file->path(), path);
  EXPECT_EQ(file->format(), FileFormat::kSafetensors);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  ASSERT_EQ(file->entries().size(), 1U);
  EXPECT_EQ(file->entry("w").shape, (base::Shape{2}));
  EXPECT_EQ(file->view("w").as<float>()[1], 2.0F);
  EXPECT_FALSE(file->contains("v"));
  expect_error([&] { file->view("v"); }, ErrorKind::kBadInput, "expected a tensor \"v\"");
  expect_error([&] { TensorFile::open(path, WeightSet::kEma); },
               ErrorKind::kBadInput,
               "holds one set of weights");
}

TEST(TensorFileTest, ReleasedPagesComeBack) {
  const TempDir dir;
  Tensor weights(DType::kU8, {1 << 16});
  weights.as<uint8_t>()[40000] = 7;
  write_safetensors(dir.file("w"), {{"w", weights.view()}});
  const auto file = TensorFile::open(dir.file("w"));
  const base::TensorView view = file->view("w");
  EXPECT_EQ(view.as<uint8_t>()[40000], 7);
  file->release({view.data, view.bytes()});
  EXPECT_EQ(view.as<uint8_t>()[40000], 7);
  file->release({weights.data(), weights.bytes()});  // not mapped from this file
  EXPECT_EQ(weights.as<uint8_t>()[40000], 7);
}

TEST(TensorFileTest, OtherFilesAreNamed) {
  const TempDir dir;
  const auto expect_named = [&](std::string_view bytes, const std::string& what) {
    const std::string path = dir.put("model.safetensors", bytes);
    expect_error([&] { TensorFile::open(path); }, ErrorKind::kBadInput, path + ": ");
    expect_error([&] { TensorFile::open(path); }, ErrorKind::kBadInput, what);
  };
  expect_named("", "found an empty file");
  expect_named("\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47 0d 0a 1a 0a");
  expect_named("abc", "begins with 61 62 63");
  expect_named(std::string_view("\x02\0\0\0\0\0\0\0{", 9), "expected a header of 2 bytes, found 1");
  expect_named("[1]", "begins with 5b 31 5d");
  expect_named("{", "malformed JSON");
  expect_named("{}", "no object 'weight_map'");
  expect_named("{\"_class_name\": \"AutoencoderKL\"}", "no object 'weight_map'");
  std::string tar(512, '\0');
  tar.replace(257, 5, "ustar");
  expect_named(tar, "found a tar archive");
  expect_error(
      [&] { TensorFile::open(dir.file("none")); }, ErrorKind::kBadInput, "none: cannot be");
}

TEST(TensorFileTest, FoldersHoldOneOfTheUsualFiles) {
  const TempDir dir;
  expect_error([&] { TensorFile::open(dir.path()); },
               ErrorKind::kBadInput,
               "diffusion_pytorch_model.safetensors");
  const Tensor weights = Tensor::from({1}, std::array{1.0F});
  const std::string path = dir.file("diffusion_pytorch_model.safetensors");
  write_safetensors(path, {{"w", weights.view()}});
  EXPECT_EQ(TensorFile::open(dir.path())->path(), path);
}

TEST_F(ShardedTest, TensorsComeFromTheirFiles) {
  const std::string index = put_index();
  for (const std::string& path : {index, dir_.path().string()}) {
    const auto file = TensorFile::open(path);
    EXPECT_EQ(file->path(), index);
    EXPECT_EQ(file->format(), FileFormat::kShardedSafetensors);
    ASSERT_EQ(file->entries().size(), 3U);
    EXPECT_EQ(file->view("a").as<float>()[1], 2.0F);
    EXPECT_EQ(file->view("b").as<float>()[0], 3.0F);
    EXPECT_EQ(file->view("c").as<float>()[1], 5.0F);
    EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"x", "1"}, {"y", "2"}}));
    const base::TensorView view = file->view("c");
    file->release({view.data, view.bytes()});
    EXPECT_EQ(view.as<float>()[1], 5.0F);
    EXPECT_THAT(
        files_of(*file),
        ::testing::ElementsAre(index, dir_.file("one.safetensors"), dir_.file("two.safetensors")));
  }
  const auto one = TensorFile::open(dir_.file("one.safetensors"));
  EXPECT_THAT(files_of(*one), ::testing::ElementsAre(one->path()));
}

TEST_F(ShardedTest, IndicesThatLieAreRefused) {
  const auto refused = [&](const std::string& map, const std::string& message) {
    expect_refused(put_index(map), message);
  };
  for (const char* name : {"../one.safetensors",
                           "/one.safetensors",
                           "a\\\\b.safetensors",
                           ".safetensors",
                           "",
                           "one.pt"}) {
    refused(fmt::format(R"({{"a":"{}"}})", name),
            "weight_map: expected names of safetensors files");
  }
  refused(R"({"a":"one.safetensors\u0000.safetensors"})", "expected names of safetensors files");
  refused(R"({"a":1})", "tensor \"a\": expected the name of a file, found number");
  refused("{}", "no object 'weight_map'");
  refused("[]", "no object 'weight_map'");
  refused(R"({"a":"one.safetensors","a":"two.safetensors"})", "found \"a\" twice");
  refused(R"({"a":"three.safetensors"})", "three.safetensors: cannot be opened");
  refused(R"({"a":"one.safetensors"})", "tensor \"b\": found in");
  refused(R"({"a":"one.safetensors","b":"one.safetensors","d":"one.safetensors"})",
          "tensor \"d\": expected it in");
}

TEST_F(ShardedTest, FilesThatDisagreeAreRefused) {
  const std::string index = put_index();
  write_safetensors(dir_.file("two.safetensors"), {{"c", c_.view()}}, {{"x", "2"}});
  expect_refused(index, "metadata \"x\": expected one value, found another in");
  // A tensor in both files, of which the index names one.
  write_safetensors(dir_.file("two.safetensors"), {{"c", c_.view()}, {"a", a_.view()}});
  expect_refused(index, "tensor \"a\": found in");
  std::filesystem::resize_file(dir_.file("two.safetensors"), 20);
  expect_refused(index, "two.safetensors: byte 0: expected a header");
}

TEST_F(ShardedTest, FilesThatAreNoneAreRefused) {
  std::filesystem::create_directory(dir_.file("dir.safetensors"));
  ASSERT_EQ(mkfifo(dir_.file("pipe.safetensors").c_str(), 0600), 0);
  std::filesystem::create_symlink("loop.safetensors", dir_.file("loop.safetensors"));
  std::filesystem::create_symlink("/dev/zero", dir_.file("zero.safetensors"));
  dir_.put("empty.safetensors", "");
  const std::pair<const char*, const char*> files[] = {
      {"dir", "dir.safetensors: expected a regular file, found a folder"},
      {"pipe", "pipe.safetensors: expected a regular file, found a pipe"},
      {"loop", "Too many levels of symbolic links"},
      {"zero", "zero.safetensors: expected a regular file"},
      {"empty", "empty.safetensors: byte 0: expected 8 bytes of header length"},
      {"a\\u001b[2J", "expected names of safetensors files beside the index, found \"a\\x1b[2J"}};
  for (const auto& [file, message] : files) {
    expect_refused(put_index(fmt::format(R"({{"a":"{}.safetensors"}})", file)), message);
  }
}

TEST_F(ShardedTest, IndicesBeyondTheLimitsAreRefused) {
  std::string map;
  for (int i = 0; i <= 1000; ++i) {
    map += fmt::format("{}\"t{}\":\"s{}.safetensors\"", i > 0 ? "," : "{", i, i);
  }
  expect_refused(put_index(map + "}"), "expected at most 1000 files, found 1001");
  const auto refuse = [&](const std::string& text, const std::string& message) {
    expect_refused(dir_.put("i.json", text), message);
  };
  refuse("{\"weight_map\":" + std::string(100'000, '['), "at most 32 deep");
  refuse(R"({"weight_map":{"a":"x"},"weight_map":{}})", "\"weight_map\" twice");
  refuse(R"({"weight_map":{"a":"one.saf)", "malformed JSON at byte");
}

}  // namespace
}  // namespace ditmoe::formats
