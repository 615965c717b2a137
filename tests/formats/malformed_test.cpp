// Every parser refuses every file of its table: tests/formats/cases.h.

#include "malformed.h"

#include <filesystem>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "ditmoe/base/json.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/idx.h"
#include "ditmoe/formats/image.h"
#include "ditmoe/formats/npz.h"
#include "ditmoe/formats/pickle.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/formats/tensor_file.h"
#include "ditmoe/formats/toml.h"

#include "cases.h"
#include "temp_dir.h"

namespace ditmoe::formats {
namespace {

using test::TempDir;

struct Parser {
  std::string name;
  void (*open)(const std::string& path);
  std::vector<test::MalformedCase> (*cases)();
};

void open_npz(const std::string& path) { read_npz(path); }

void open_pickle(const std::string& path) {
  const MappedFile file = MappedFile::open(path);
  Pickle::parse(file.bytes(), path);
}

// Not a folder, which a checkpoint may be too.
void open_checkpoint(const std::string& path) {
  MappedFile::open(path);
  TensorFile::open(path);
}

const std::vector<Parser> kParsers = {
    {"Idx", [](const std::string& path) { read_idx(path); }, test::idx_cases},
    {"Jpeg", [](const std::string& path) { read_image(path); }, test::jpeg_cases},
    {"Json",
     [](const std::string& path) { base::parse_json(read_text(path), path); },
     test::json_cases},
    {"Npz", open_npz, test::npz_cases},
    {"Pickle", open_pickle, test::pickle_cases},
    {"Png", [](const std::string& path) { read_png(path); }, test::png_cases},
    {"Safetensors",
     [](const std::string& path) { SafetensorsFile::open(path); },
     test::safetensors_cases},
    {"Toml", [](const std::string& path) { TomlDocument::open(path); }, test::toml_cases},
    {"TorchArchive", open_checkpoint, test::torch_archive_cases},
    {"TorchTensor", open_checkpoint, test::torch_tensor_cases},
    {"Zip", open_npz, test::zip_cases},
};

struct FileForParser {
  std::string name;
  test::MalformedCase malformed;
  const Parser* parser;
};

std::vector<FileForParser> all_files() {
  std::vector<FileForParser> files;
  for (const Parser& parser : kParsers) {
    for (const test::MalformedCase& malformed : parser.cases()) {
      files.push_back({parser.name + "_" + malformed.name, malformed, &parser});
    }
  }
  return files;
}

void PrintTo(const FileForParser& file, std::ostream* out) { *out << file.name; }

void PrintTo(const Parser& parser, std::ostream* out) { *out << parser.name; }

class MalformedTest : public testing::TestWithParam<FileForParser> {};

TEST_P(MalformedTest, IsRefused) {
  test::expect_refused(GetParam().malformed, GetParam().parser->open);
}

INSTANTIATE_TEST_SUITE_P(Of, MalformedTest, testing::ValuesIn(all_files()), test::name_of_case);

class NoFileTest : public testing::TestWithParam<Parser> {};

TEST_P(NoFileTest, IsRefused) {
  const TempDir dir;
  const auto refuse = [&](const std::string& path, const std::string& message) {
    test::expect_refused_at(path, 0, message, GetParam().open);
  };
  refuse(dir.file("missing"), "No such file");
  refuse(dir.file("no/such/folder"), "No such file");
  refuse(dir.put("file", "") + "/below", "Not a directory");
  refuse(dir.path().string(), "expected a regular file, found a folder");
  refuse("/dev/null", "expected a regular file, found a pipe, socket or device");
  refuse("/dev/zero", "expected a regular file, found a pipe, socket or device");
  ASSERT_EQ(mkfifo(dir.file("pipe").c_str(), 0600), 0);
  refuse(dir.file("pipe"), "expected a regular file, found a pipe, socket or device");
  std::filesystem::create_symlink(dir.file("loop"), dir.file("loop"));
  refuse(dir.file("loop"), "Too many levels of symbolic links");
  std::filesystem::create_symlink(dir.file("nowhere"), dir.file("dangling"));
  refuse(dir.file("dangling"), "No such file");
  refuse(dir.file(std::string(300, 'n')), "File name too long");
}

INSTANTIATE_TEST_SUITE_P(Of, NoFileTest, testing::ValuesIn(kParsers), test::name_of_case);

}  // namespace
}  // namespace ditmoe::formats
