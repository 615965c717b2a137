// Packed files: what they hold, that they compute what the file they were made from does, in place
// or streamed, and that files which do not fit are refused.

#include "ditmoe/networks/packed_file.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <optional>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/file.h"
#include "ditmoe/kernels/blocked_layout.h"
#include "ditmoe/networks/dit_executor.h"
#include "ditmoe/networks/memory_plan.h"

#include "tests/support/arrays.h"

namespace ditmoe::networks {
namespace {

using kernels::Precision;
using ::testing::HasSubstr;

constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBf16, Precision::kInt8};

DitConfig small_config() {
  DitConfig config;
  config.image_size = 8;
  config.channels = 3;
  config.width = 36;
  config.depth = 5;
  config.heads = 3;
  config.num_classes = 5;
  config.experts = 4;
  config.expert_width = 300;  // a second, narrower chunk
  return config;
}

class PackedFileTest : public ::testing::Test {
 protected:
  ~PackedFileTest() override { std::filesystem::remove(path_); }

  ModelFile write(const DitConfig& config, Precision precision) {
    write_packed(path_,
                 RandomWeights(config, 3),
                 precision,
                 write_metadata(config, {}, default_sampling(config.objective)),
                 pool_);
    return ModelFile::open(path_);
  }

  std::string refusal() const {
    try {
      ModelFile::open(path_);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      return error.what();
    }
    return "";
  }

  static std::vector<float> predict(DitExecutor& executor, const DitConfig& config) {
    const int64_t size = config.channels * config.image_size * config.image_size;
    std::vector<float> out(
        static_cast<size_t>(3 * config.output_channels() * config.image_size * config.image_size));
    const std::vector<float> t = {1, 500, 999};
    const std::vector<int32_t> y = {0, 3, 5};
    executor.predict(tests::normal_values(3 * size, 1), t, y, out);
    return out;
  }

  std::string path_ = (std::filesystem::temp_directory_path() /
                       fmt::format("ditmoe-packed-{}.safetensors", getpid()))
                          .string();
  base::ThreadPool pool_{2};
};

TEST(BlockedLayoutTest, UnpackingIsTheInverse) {
  for (const Precision precision : kPrecisions) {
    for (const auto& [outputs, inputs] : {std::pair{1, 1}, {64, 64}, {65, 130}, {100, 33}}) {
      const int64_t bytes = outputs * inputs *
                            (precision == Precision::kF32    ? 4
                             : precision == Precision::kBf16 ? 2
                                                             : 1);
      std::vector<uint8_t> weight(static_cast<size_t>(bytes));
      for (size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<uint8_t>(i * 37 + i / 7);
      const size_t packed_size = kernels::blocked_bytes(outputs, inputs, precision);
      EXPECT_EQ(packed_size % 4096, 0U);
      std::vector<std::byte> packed(packed_size, std::byte{0xff});
      kernels::pack_blocked(weight.data(), outputs, inputs, precision, packed.data());
      std::vector<uint8_t> back(weight.size());
      kernels::unpack_blocked(packed.data(), outputs, inputs, precision, back.data());
      EXPECT_EQ(back, weight) << outputs << "x" << inputs;
    }
  }
}

// oneDNN's own packing, byte for byte: where a CPU multiplies by that layout, adopting is enough.
TEST(BlockedLayoutTest, AdoptedAndPackedMatricesMultiplyAlike) {
  for (const base::Isa isa : {base::Isa::kAvx2, base::chosen_isa()}) {
    kernels::Matmul matmul(1, isa);
    base::Arena arena{size_t{2} << 20};
    for (const Precision precision : kPrecisions) {
      base::Tensor weight = base::Tensor::from({70, 45}, tests::normal_values(70 * 45, 4));
      std::vector<std::byte> stored(kernels::blocked_bytes(70, 45, precision));
      std::vector<float> scale(70);
      std::vector<int32_t> offset(70);
      kernels::block_weights(
          weight.view(), precision, {scale.data(), offset.data()}, stored.data());
      const auto packed = matmul.pack(weight.view(), nullptr, precision, arena);
      const auto adopted = matmul.adopt(
          {stored.data(), precision, 70, 45, nullptr, {scale.data(), offset.data()}}, arena);
      // Bytes that are numbers in every precision.
      const std::vector<uint8_t> x(9 * 45 * 4, 0x3f);
      std::vector<int32_t> expected(9 * 70);
      std::vector<int32_t> actual(9 * 70);
      matmul.multiply(x.data(), 9, packed, expected.data(), 0);
      matmul.multiply(x.data(), 9, adopted, actual.data(), 0);
      EXPECT_EQ(actual, expected) << kernels::to_word(precision) << " on " << base::name_of(isa);
    }
  }
}

TEST_F(PackedFileTest, ComputesWhatTheUnpackedWeightsDo) {
  std::vector<DitConfig> configs(5, small_config());
  configs[4].feed_forward = FeedForward::kGelu;
  configs[4].time_experts = 3;
  configs[4].time_top_k = 2;
  configs[1].qk_norm = true;
  configs[1].moe_placement = MoePlacement::kAlternate;
  configs[1].shared_experts = 0;
  configs[2].feed_forward = FeedForward::kGelu;
  configs[3].feed_forward = FeedForward::kSwiglu;
  for (const DitConfig& config : configs) {
    for (const Precision precision : kPrecisions) {
      const ModelFile model = write(config, precision);
      EXPECT_EQ(model.packed(), precision);
      EXPECT_EQ(model.config(), config);
      for (const base::Isa isa : {base::Isa::kAvx2, base::chosen_isa()}) {
        const ExecutorOptions options{.precision = precision, .isa = isa};
        DitExecutor packed(model, options, pool_);
        DitExecutor source(RandomWeights(config, 3), options, pool_);
        EXPECT_EQ(predict(packed, config), predict(source, config))
            << to_json(config).dump() << kernels::to_word(precision) << base::name_of(isa);
      }
    }
  }
}

TEST_F(PackedFileTest, StreamedExpertsComputeTheSame) {
  if (!kernels::Matmul(1).adopts_in_place(Precision::kBf16)) {
    GTEST_SKIP() << "this CPU does not multiply by the stored layout";
  }
  for (const MoePlacement placement : {MoePlacement::kEvery, MoePlacement::kAlternate}) {
    DitConfig config = small_config();
    config.moe_placement = placement;
    config.depth = 8;
    const ModelFile model = write(config, Precision::kBf16);
    DitExecutor whole(model, {.precision = Precision::kBf16}, pool_);
    ExecutorOptions options{.precision = Precision::kBf16};
    // One byte less than everything: the plan itself tells how much that is.
    options.memory = std::filesystem::file_size(path_) + (uint64_t{768} << 20) - 65536;
    ASSERT_TRUE(plan_memory(model, options).has_value());
    DitExecutor streamed(model, options, pool_);
    const std::vector<float> expected = predict(whole, config);
    for (int round = 0; round < 3; ++round) EXPECT_EQ(predict(streamed, config), expected);
  }
}

TEST_F(PackedFileTest, ModelThatDoesNotFitIsRefused) {
  const ModelFile model = write(small_config(), Precision::kInt8);
  ExecutorOptions options{.precision = Precision::kInt8, .memory = uint64_t{1} << 20};
  try {
    DitExecutor executor(model, options, pool_);
    ADD_FAILURE() << "a megabyte was enough";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr("--memory allows 1.0 MiB; streaming its experts takes 76"));
  }
}

TEST_F(PackedFileTest, AnotherPrecisionIsRefused) {
  const ModelFile model = write(small_config(), Precision::kInt8);
  EXPECT_THROW(DitExecutor(model, {.precision = Precision::kBf16}, pool_), base::Error);
}

// One bit anywhere: in the first and last matrix, in a scale, in a plain tensor, in the checksums.
TEST_F(PackedFileTest, DamagedBytesAreFound) {
  const ModelFile model = write(small_config(), Precision::kInt8);
  const std::string whole = formats::read_text(path_, size_t{1} << 30);
  const auto& entries = model.file()->entries();
  for (const size_t index :
       {size_t{0}, entries.size() / 2, entries.size() - 2, entries.size() - 1}) {
    const formats::TensorEntry& entry = entries[index];
    std::string damaged = whole;
    damaged[entry.offset + entry.bytes / 2] ^= 4;
    formats::write_text(path_, damaged);
    try {
      DitExecutor executor(ModelFile::open(path_), {.precision = Precision::kInt8}, pool_);
      ADD_FAILURE() << entry.name;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
      EXPECT_THAT(error.what(), HasSubstr("the file is damaged")) << entry.name;
    }
  }
}

TEST_F(PackedFileTest, DamagedBytesAreFoundWhileTheyStream) {
  if (!kernels::Matmul(1).adopts_in_place(Precision::kBf16)) {
    GTEST_SKIP() << "this CPU does not multiply by the stored layout";
  }
  DitConfig config = small_config();
  config.depth = 8;
  for (const int layer : {0, 7}) {  // one that stays in memory, one that does not
    const ModelFile model = write(config, Precision::kBf16);
    std::string bytes = formats::read_text(path_, size_t{1} << 30);
    const auto name = fmt::format("blocks.{}.moe.experts.2.down_proj.packed", layer);
    bytes[model.file()->entry(name).offset + 100] ^= 1;
    formats::write_text(path_, bytes);
    ExecutorOptions options{.precision = Precision::kBf16};
    options.memory = bytes.size() + (uint64_t{768} << 20) - 65536;
    std::optional<DitExecutor> streamed;
    for (int round = 0; round < 2; ++round) {
      try {
        if (!streamed) streamed.emplace(ModelFile::open(path_), options, pool_);
        predict(*streamed, config);
        ADD_FAILURE() << name;
      } catch (const base::Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(name));
      }
    }
  }
}

// Two experts of a layer change places; all checksums remain true.
TEST_F(PackedFileTest, ExpertsInAnotherOrderDoNotStream) {
  if (!kernels::Matmul(1).adopts_in_place(Precision::kBf16)) {
    GTEST_SKIP() << "this CPU does not multiply by the stored layout";
  }
  write(small_config(), Precision::kBf16);
  std::string bytes = formats::read_text(path_, size_t{1} << 30);
  const std::string first = "blocks.2.moe.experts.1.down_proj.packed";
  const std::string second = "blocks.2.moe.experts.2.down_proj.packed";
  const size_t at = bytes.find(first);
  const size_t other = bytes.find(second);
  ASSERT_NE(at, std::string::npos);
  ASSERT_NE(other, std::string::npos);
  bytes.replace(at, first.size(), second);
  bytes.replace(other, second.size(), first);
  formats::write_text(path_, bytes);
  ExecutorOptions options{.precision = Precision::kBf16};
  DitExecutor whole(ModelFile::open(path_), options, pool_);
  options.memory = bytes.size() + (uint64_t{768} << 20) - 65536;
  try {
    DitExecutor streamed(ModelFile::open(path_), options, pool_);
    ADD_FAILURE() << "experts in another order stream";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr(first));
    EXPECT_THAT(error.what(), HasSubstr("side by side"));
  }
}

TEST_F(PackedFileTest, CorruptFilesAreRefused) {
  write(small_config(), Precision::kInt8);
  const std::string whole = formats::read_text(path_, size_t{1} << 30);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = whole;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    changed.replace(at, from.size(), to);
    formats::write_text(path_, changed);
    return refusal();
  };
  formats::write_text(path_, whole.substr(0, whole.size() - 4096));
  EXPECT_THAT(refusal(), HasSubstr("truncated"));
  EXPECT_THAT(with("BA16a64b4a", "BA16a64b8a"), HasSubstr("ditmoe.packed"));
  EXPECT_THAT(with("experts.3.down_proj.packed", "experts.9.down_proj.packed"),
              HasSubstr("blocks.0.moe.experts.3.down_proj.packed"));
  EXPECT_THAT(with("\\\"depth\\\":5", "\\\"depth\\\":4"), HasSubstr("expected the"));
  EXPECT_THAT(with("\\\"depth\\\":5", "\\\"depth\\\":9"), HasSubstr("blocks."));
  EXPECT_THAT(with("ditmoe.config", "ditmoe.confit"), HasSubstr("without its configuration"));
}

}  // namespace
}  // namespace ditmoe::networks
