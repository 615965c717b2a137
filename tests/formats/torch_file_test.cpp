#include "ditmoe/formats/torch_file.h"

#include <filesystem>
#include <map>

#include <gtest/gtest.h>

#include "ditmoe/formats/tensor_file.h"

#include "temp_dir.h"
#include "torch_bytes.h"

namespace ditmoe::formats {
namespace {

using base::DType;
using base::ErrorKind;
using test::counted_floats;
using test::expect_error;
using test::pickled_dict;
using test::pickled_global;
using test::pickled_parameter;
using test::pickled_text;
using test::PickledTensor;
using test::raw;
using test::TempDir;
using test::torch_file_of;
using test::torch_parts;
using test::zip_of;
using test::ZipPart;

std::vector<double> values_of(const base::TensorView& view) {
  const base::Tensor wide = base::convert(view, DType::kF64);
  return {wide.as<double>().begin(), wide.as<double>().end()};
}

class TorchFileTest : public ::testing::Test {
 protected:
  std::shared_ptr<const TensorFile> open(const std::string& bytes,
                                         std::optional<WeightSet> weights = {}) const {
    return TensorFile::open(dir_.put("model.pt", bytes), weights);
  }

  // The only tensor of a bare state dict.
  std::vector<double> read(const PickledTensor& tensor, const std::string& storage) const {
    const auto file = open(torch_file_of(pickled_dict({{"w", tensor.opcodes()}}), storage));
    EXPECT_EQ(file->entry("w").shape, tensor.size);
    return values_of(file->view("w"));
  }

  void expect_refused(const std::string& bytes,
                      const std::string& message,
                      std::optional<WeightSet> weights = {}) const {
    expect_error([&] { open(bytes, weights); }, ErrorKind::kBadInput, message);
  }

  TempDir dir_;
};

using Doubles = std::vector<double>;

TEST_F(TorchFileTest, TensorsAreLookedAtInPlace) {
  const std::string bytes = torch_file_of(
      pickled_dict(
          {{"w", PickledTensor{.size = {2, 3}, .stride = {3, 1}, .elements = 6}.opcodes()}}),
      counted_floats(6));
  const auto file = open(bytes);
  EXPECT_EQ(file->format(), FileFormat::kPytorch);
  const TensorEntry& entry = file->entry("w");
  EXPECT_EQ(entry.dtype, DType::kF32);
  EXPECT_EQ(entry.bytes, 24U);
  EXPECT_EQ(bytes.substr(entry.offset, 24), counted_floats(6));
  EXPECT_EQ(values_of(file->view("w")), (Doubles{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(file->view("w").data, file->view("w").data);
  file->release({file->view("w").data, 24});
  EXPECT_EQ(values_of(file->view("w"))[5], 5);
}

TEST_F(TorchFileTest, StridesOffsetsAndExpansion) {
  const std::string six = counted_floats(6);
  EXPECT_EQ(read({.size = {3, 2}, .stride = {1, 3}, .elements = 6}, six),
            (Doubles{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(read({.size = {2}, .stride = {1}, .offset = 4, .elements = 6}, six), (Doubles{4, 5}));
  EXPECT_EQ(read({.size = {3}, .stride = {2}, .offset = 1, .elements = 6}, six),
            (Doubles{1, 3, 5}));
  EXPECT_EQ(read({.size = {2, 2}, .stride = {0, 1}, .elements = 6}, six), (Doubles{0, 1, 0, 1}));
  EXPECT_EQ(read({.size = {4}, .stride = {0}, .offset = 5, .elements = 6}, six),
            (Doubles{5, 5, 5, 5}));
  EXPECT_EQ(read({.size = {2, 3}, .stride = {1, 1}, .elements = 6}, six),
            (Doubles{0, 1, 2, 1, 2, 3}));
  EXPECT_EQ(read({.size = {}, .stride = {}, .offset = 3, .elements = 6}, six), (Doubles{3}));
  // Strides of dimensions of one element are never walked.
  EXPECT_EQ(read({.size = {1, 2}, .stride = {int64_t{1} << 62, 1}, .elements = 6}, six),
            (Doubles{0, 1}));
  EXPECT_EQ(read({.size = {2, 1, 2}, .stride = {1, INT64_MAX, 2}, .elements = 6}, six),
            (Doubles{0, 2, 1, 3}));
}

TEST_F(TorchFileTest, StoragesOfBytesMayHaveARest) {
  EXPECT_EQ(read({.size = {2}, .elements = 2}, counted_floats(2) + "abc"), (Doubles{0, 1}));
}

TEST_F(TorchFileTest, TensorsWithoutElements) {
  EXPECT_EQ(read({.size = {0}, .stride = {1}, .elements = 6}, counted_floats(6)), Doubles{});
  EXPECT_EQ(read({.size = {3, 0}, .stride = {1, 1}, .elements = 0}, ""), Doubles{});
  EXPECT_EQ(read({.size = {0, INT64_MAX / 8}, .stride = {7, 9}, .elements = 0}, ""), Doubles{});
}

TEST_F(TorchFileTest, EveryElementType) {
  const std::map<std::string, std::pair<DType, std::string>> types = {
      {"DoubleStorage", {DType::kF64, raw("\0\0\0\0\0\0\0\x40")}},
      {"FloatStorage", {DType::kF32, raw("\0\0\0\x40")}},
      {"HalfStorage", {DType::kF16, raw("\0\x40")}},
      {"BFloat16Storage", {DType::kBF16, raw("\0\x40")}},
      {"LongStorage", {DType::kI64, raw("\x02\0\0\0\0\0\0\0")}},
      {"IntStorage", {DType::kI32, raw("\x02\0\0\0")}},
      {"ShortStorage", {DType::kI16, raw("\x02\0")}},
      {"CharStorage", {DType::kI8, "\x02"}},
      {"ByteStorage", {DType::kU8, "\x02"}}};
  for (const auto& [type, expected] : types) {
    const PickledTensor tensor = {.size = {1}, .elements = 1, .type = type};
    EXPECT_EQ(read(tensor, expected.second), Doubles{2}) << type;
    EXPECT_EQ(open(torch_file_of(pickled_dict({{"w", tensor.opcodes()}}), expected.second))
                  ->entry("w")
                  .dtype,
              expected.first);
  }
  EXPECT_EQ(read({.size = {2}, .elements = 2, .type = "BoolStorage"}, raw("\x01\0")),
            (Doubles{1, 0}));
}

TEST_F(TorchFileTest, StoragesAreShared) {
  const PickledTensor first = {.size = {2}, .elements = 3};
  const PickledTensor second = {.size = {2}, .offset = 1, .elements = 3};
  const auto file = open(torch_file_of(
      pickled_dict({{"a", first.opcodes()}, {"b", second.opcodes()}}), counted_floats(3)));
  EXPECT_EQ(values_of(file->view("a")), (Doubles{0, 1}));
  EXPECT_EQ(values_of(file->view("b")), (Doubles{1, 2}));
  EXPECT_EQ(file->view("b").data, file->view("a").data + 4);
}

TEST_F(TorchFileTest, TensorsThatAreGatheredStayWhereTheyAre) {
  const PickledTensor tensor = {.size = {2, 2}, .stride = {1, 2}, .elements = 4};
  const auto file = open(torch_file_of(pickled_dict({{"w", tensor.opcodes()}}), counted_floats(4)));
  const base::TensorView view = file->view("w");
  EXPECT_EQ(file->entry("w").offset, 0U);
  file->release({view.data, view.bytes()});
  EXPECT_EQ(file->view("w").data, view.data);
  EXPECT_EQ(values_of(view), (Doubles{0, 2, 1, 3}));
}

TEST_F(TorchFileTest, ParametersAndAttributes) {
  const std::string plain = PickledTensor{}.opcodes();
  const std::string with_state = pickled_global("torch._utils", "_rebuild_parameter_with_state") +
                                 "(" + plain + "\x88" + test::ordered_dict() + "}tR";
  const std::string attributes = PickledTensor{.rest = "}"}.opcodes();
  const std::string torch_size =
      PickledTensor{.sizes = pickled_global("torch", "Size") + "(K\x02t\x85R"}.opcodes();
  const std::string with_gradient = PickledTensor{.gradient = "\x88"}.opcodes();
  for (const std::string& tensor :
       {plain, pickled_parameter(plain), with_state, attributes, torch_size, with_gradient}) {
    const auto file = open(torch_file_of(pickled_dict({{"w", tensor}}), counted_floats(2)));
    EXPECT_EQ(values_of(file->view("w")), (Doubles{0, 1}));
  }
}

// A checkpoint whose sets of weights are told apart by their values.
std::string training_checkpoint(const std::vector<std::string>& sets) {
  std::vector<std::pair<std::string, std::string>> values;
  for (size_t i = 0; i < sets.size(); ++i) {
    const PickledTensor tensor = {.size = {1}, .offset = static_cast<int64_t>(i), .elements = 4};
    values.emplace_back(sets[i], pickled_dict({{"w", tensor.opcodes()}}));
  }
  values.emplace_back("opt", pickled_dict({{"state", "}"}, {"lr", "G" + std::string(8, '\0')}}));
  values.emplace_back("epoch", "K\x03");
  return torch_file_of(pickled_dict(values), counted_floats(4));
}

TEST_F(TorchFileTest, WeightsAreFoundWhereTrainersPutThem) {
  const auto value = [&](const std::vector<std::string>& sets,
                         std::optional<WeightSet> weights = {}) {
    return values_of(open(training_checkpoint(sets), weights)->view("w"))[0];
  };
  EXPECT_EQ(value({"model", "ema"}), 1);
  EXPECT_EQ(value({"model", "ema"}, WeightSet::kEma), 1);
  EXPECT_EQ(value({"model", "ema"}, WeightSet::kModel), 0);
  EXPECT_EQ(value({"ema"}), 0);
  EXPECT_EQ(value({"state_dict"}), 0);
  EXPECT_EQ(value({"module", "optimizer"}), 0);
  EXPECT_EQ(value({"module"}, WeightSet::kModel), 0);
  EXPECT_EQ(value({"module", "state_dict", "model"}), 2);
  const std::string bare = torch_file_of(
      pickled_dict({{"w", PickledTensor{}.opcodes()}, {"epoch", "K\x03"}, {"note", "N"}}),
      counted_floats(2));
  EXPECT_EQ(open(bare)->entries().size(), 1U);
  EXPECT_EQ(open(bare, WeightSet::kModel)->entries().size(), 1U);
  expect_refused(
      training_checkpoint({"model"}),
      "expected EMA weights under \"ema\", found a dict with \"model\", \"opt\", \"epoch\"",
      WeightSet::kEma);
  expect_refused(bare, "expected EMA weights", WeightSet::kEma);
  expect_refused(
      training_checkpoint({"ema"}),
      "under \"model\", \"state_dict\" or \"module\", found a dict with \"ema\", \"opt\"",
      WeightSet::kModel);
  expect_refused(training_checkpoint({"generator"}), "found a dict with \"generator\", \"opt\"");
}

TEST_F(TorchFileTest, AnEmptyEmaGivesWayToTheModel) {
  const std::string weights = pickled_dict({{"w", PickledTensor{}.opcodes()}});
  for (const std::string ema : {"N", "}"}) {
    EXPECT_EQ(
        open(torch_file_of(pickled_dict({{"ema", ema}, {"model", weights}}), counted_floats(2)))
            ->entries()
            .size(),
        1U);
  }
}

TEST_F(TorchFileTest, OrderedDictsKeepTheirMetadataToThemselves) {
  const std::string weights = test::ordered_dict() + "(" + pickled_text("w") +
                              PickledTensor{}.opcodes() + "u}" + pickled_text("_metadata") +
                              test::ordered_dict() + pickled_text("") + "}" +
                              pickled_text("version") + "K\x01ss" + "sb";
  const auto file = open(torch_file_of(weights, counted_floats(2)));
  EXPECT_EQ(file->entries().size(), 1U);
}

TEST_F(TorchFileTest, TrainingArgumentsBecomeMetadata) {
  const std::string arguments =
      pickled_global("argparse", "Namespace") + ")\x81" +
      pickled_dict({{"model", pickled_text("DiT-S/2")},
                    {"num_experts", "K\x08"},
                    {"rf", "\x88"},
                    {"lr", "G" + raw("\x3f\xe0\0\0\0\0\0\0")},
                    {"hook", pickled_global("os", "system")},
                    {"called", pickled_global("os", "system") + pickled_text("true") + "\x85R"},
                    {"betas", "]"},
                    {"screen", pickled_text("\x1b[2J")}}) +
      "b";
  const auto file =
      open(torch_file_of(pickled_dict({{"ema", pickled_dict({{"w", PickledTensor{}.opcodes()}})},
                                       {"args", arguments}}),
                         counted_floats(2)));
  EXPECT_EQ(file->metadata(),
            (std::map<std::string, std::string>{{"args.model", "DiT-S/2"},
                                                {"args.num_experts", "8"},
                                                {"args.rf", "true"},
                                                {"args.lr", "0.5"}}));
}

TEST_F(TorchFileTest, ObjectsBesideTheWeightsAreNeverMade) {
  const std::string hostile =
      pickled_global("os", "system") + pickled_text("touch " + dir_.file("made")) + "\x85R";
  const std::string weights = pickled_dict({{"w", PickledTensor{}.opcodes()}});
  const auto file = open(
      torch_file_of(pickled_dict({{"model", weights}, {"opt", hostile}, {"args", hostile + "}b"}}),
                    counted_floats(2)));
  EXPECT_EQ(file->entries().size(), 1U);
  EXPECT_FALSE(std::filesystem::exists(dir_.file("made")));
}

// getattr(owner, name), as protocol 2 names a class within another.
std::string pickled_attribute(const std::string& owner, const std::string& name) {
  return pickled_global("__builtin__", "getattr") + "(" + owner + pickled_text(name) + "tR";
}

TEST_F(TorchFileTest, NestedClassesArePassedOver) {
  const std::string config =
      pickled_attribute(pickled_global("run", "Outer"), "Config") + ")\x81}b";
  const std::string weights = pickled_dict({{"w", PickledTensor{}.opcodes()}});
  const auto file = open(torch_file_of(
      pickled_dict({{"state_dict", weights}, {"hyper_parameters", config}}), counted_floats(2)));
  EXPECT_EQ(file->entries().size(), 1U);
  // Called like the function that makes tensors, an attribute makes none.
  const std::string disguised =
      pickled_attribute(pickled_global("torch", "_utils"), "_rebuild_tensor_v2");
  const std::string made = PickledTensor{.function = disguised}.opcodes();
  const std::string path =
      torch_file_of(pickled_dict({{"state_dict", pickled_dict({{"w", made}})}}), counted_floats(2));
  expect_refused(path, "expected weights by name");
}

TEST_F(TorchFileTest, TheLastOfTwoArgumentsCounts) {
  const std::string twice = "}(" + pickled_text("rf") + "\x89" + pickled_text("rf") + "\x88u";
  const std::string weights = pickled_dict({{"w", PickledTensor{}.opcodes()}});
  const auto file =
      open(torch_file_of(pickled_dict({{"ema", weights}, {"args", twice}}), counted_floats(2)));
  EXPECT_EQ(file->metadata().at("args.rf"), "true");
}

// torch.serialization.set_crc32_options(False) writes other numbers in place of checksums.
TEST_F(TorchFileTest, FilesWrittenWithoutChecksumsOpen) {
  std::vector<ZipPart> parts =
      torch_parts(pickled_dict({{"w", PickledTensor{}.opcodes()}}), counted_floats(2));
  for (ZipPart& part : parts) part.crc_error = 0x1234;
  EXPECT_EQ(values_of(open(zip_of(parts))->view("w")), (Doubles{0, 1}));
  parts[3].crc_error = 0;
  expect_refused(zip_of(parts), "data.pkl: expected checksum");
}

// A storage of 4 GiB and the records behind it, as sizes beyond 32 bits are written.
TEST_F(TorchFileTest, StoragesBeyondFourGigabytes) {
  constexpr uint64_t kElements = (uint64_t{1} << 30) + 2;
  const std::string pickle =
      torch_parts(pickled_dict({{"w",
                                 PickledTensor{.offset = int64_t{kElements} - 2,
                                               .elements = int64_t{kElements}}
                                     .opcodes()}}),
                  "")[0]
          .content;
  const std::string path = test::write_large_zip(
      dir_.file("large.pt"), "a/data/0", kElements * 4, counted_floats(2), "a/data.pkl", pickle);
  const auto file = TensorFile::open(path);
  EXPECT_GT(file->entry("w").offset, uint64_t{1} << 32);
  EXPECT_EQ(values_of(file->view("w")), (Doubles{0, 1}));
}

TEST_F(TorchFileTest, FilesOfBeforeVersion16AreRead) {
  const std::string bytes = test::LegacyFile{}.bytes();
  const auto file = open(bytes);
  EXPECT_EQ(file->format(), FileFormat::kPytorch);
  EXPECT_EQ(values_of(file->view("w")), (Doubles{0, 1}));
  EXPECT_EQ(file->entry("w").offset, bytes.size() - 8);
}

TEST_F(TorchFileTest, ExpandedTensorsMayNotFillTheMemory) {
  const auto expanded = [](int64_t count) {
    return PickledTensor{.size = {count}, .stride = {0}}.opcodes();
  };
  const auto refuse = [&](const std::vector<std::pair<std::string, std::string>>& tensors) {
    expect_refused(torch_file_of(pickled_dict(tensors), counted_floats(2)),
                   "bytes of tensors that are not row-major");
  };
  refuse({{"w", expanded(int64_t{1} << 40)}});
  refuse({{"v", expanded(12 << 20)}, {"w", expanded(12 << 20)}});
  EXPECT_EQ(open(torch_file_of(pickled_dict({{"w", expanded(16 << 20)}}), counted_floats(2)))
                ->entry("w")
                .bytes,
            uint64_t{64} << 20);
}

}  // namespace
}  // namespace ditmoe::formats
