#include "ditmoe/networks/packed_file.h"

#include <algorithm>
#include <utility>

#include "ditmoe/base/error.h"
#include "ditmoe/formats/bytes.h"
#include "ditmoe/formats/checksum.h"
#include "ditmoe/formats/safetensors.h"
#include "ditmoe/kernels/blocked_layout.h"
#include "ditmoe/networks/matrix_group.h"

namespace ditmoe::networks {
namespace {

using formats::TensorEntry;
using kernels::Precision;

constexpr const char* kPackedKey = "ditmoe.packed";

// "int8 BA16a64b4a chunk 256": all that a reader has to agree with.
std::string layout_text(Precision precision) {
  return fmt::format("{} {} chunk {}",
                     kernels::to_word(precision),
                     kernels::blocked_layout_name(precision),
                     kHiddenChunk);
}

size_t packed_bytes(const MatrixGroup& group) {
  const auto bytes_of_matrix = [&](int64_t i) {
    return kernels::blocked_bytes(group.matrix_outputs(i), group.inputs, group.precision);
  };
  const int64_t last = group.count() - 1;  // all before it have as many rows as the first
  return static_cast<size_t>(last) * bytes_of_matrix(0) + bytes_of_matrix(last);
}

int64_t outputs_of(const MatrixGroup& group) {
  return group.outputs * static_cast<int64_t>(group.weights.size());
}

// All groups in the order of the file: experts first, a layer's side by side.
std::vector<MatrixGroup> all_groups(const DitConfig& config, Precision precision) {
  std::vector<MatrixGroup> groups;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (!config.is_moe(layer)) continue;
    for (int64_t expert = 0; expert < config.experts; ++expert) {
      for (MatrixGroup& group : expert_groups(config, layer, expert, precision)) {
        groups.push_back(std::move(group));
      }
    }
  }
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    BlockGroups block(config, layer, precision);
    groups.push_back(std::move(block.modulation));
    groups.push_back(std::move(block.qkv));
    groups.push_back(std::move(block.proj));
    for (MatrixGroup& group : block.feed_forward) groups.push_back(std::move(group));
    for (MatrixGroup& group : block.time_experts) groups.push_back(std::move(group));
  }
  groups.push_back(final_modulation_group(config, precision));
  return groups;
}

// Where a matrix ends that has to begin at `expected`. Experts stream as one piece of a layer, of
// whole pages, in which each is found at its distance from the first.
uint64_t expect_next(const formats::TensorFile& file, const TensorEntry& entry, uint64_t expected) {
  constexpr uint64_t kPage = 4096;
  if (entry.offset != expected || entry.offset % kPage != 0 || entry.bytes % kPage != 0) {
    base::bad_input(
        "{}: tensor '{}': expected a layer's experts side by side in multiples of {} bytes, this "
        "one at byte {}, found {} bytes at byte {}",
        file.path(),
        entry.name,
        kPage,
        expected,
        entry.bytes,
        entry.offset);
  }
  return entry.offset + entry.bytes;
}

const base::Shape& plain_shape(const std::map<std::string, base::Shape>& shapes,
                               const std::string& name) {
  const auto found = shapes.find(name);
  DITMOE_ASSERT(found != shapes.end());
  return found->second;
}

}  // namespace

std::optional<Precision> packed_precision(const Metadata& metadata, const std::string& source) {
  const auto found = metadata.find(kPackedKey);
  if (found == metadata.end()) return std::nullopt;
  for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    if (found->second == layout_text(precision)) return precision;
  }
  base::bad_input("{}: {}: expected {} or another precision's, found {}",
                  source,
                  kPackedKey,
                  layout_text(Precision::kInt8),
                  formats::printable(found->second));
}

std::vector<TensorEntry> packed_entries(const DitConfig& config, Precision precision) {
  const std::vector<MatrixGroup> groups = all_groups(config, precision);
  std::vector<TensorEntry> entries;
  const auto add = [&entries](const std::string& name, base::DType dtype, base::Shape shape) {
    entries.push_back({name, dtype, std::move(shape), 0, 0});
  };
  for (const MatrixGroup& group : groups) {
    const base::DType dtype = kernels::stored_dtype(group.precision);
    const auto count = static_cast<int64_t>(packed_bytes(group) / base::size_of(dtype));
    add(group.name + ".packed", dtype, {count});
  }
  for (const MatrixGroup& group : groups) {
    if (group.precision == Precision::kInt8) {
      add(group.name + ".scale", base::DType::kF32, {outputs_of(group)});
      add(group.name + ".offset", base::DType::kI32, {outputs_of(group)});
    }
    if (group.bias) add(group.name + ".bias", base::DType::kF32, {group.outputs});
  }
  std::map<std::string, base::Shape> shapes;
  for (TensorSpec& spec : tensor_specs(config)) {
    shapes.emplace(std::move(spec.name), std::move(spec.shape));
  }
  for (const std::string& name : plain_tensors(config)) {
    add(name, base::DType::kF32, plain_shape(shapes, name));
  }
  add(kChecksumTensor, base::DType::kI64, {static_cast<int64_t>(groups.size()) + 1});
  return entries;
}

void check_packed(const formats::TensorFile& file, const DitConfig& config, Precision precision) {
  // Listing the tensors of a network that a small hostile file claims to hold could take all
  // memory.
  const auto count = static_cast<int64_t>(file.entries().size());
  if (config.depth > count ||
      (config.feed_forward == FeedForward::kMoe && config.depth / 2 * config.experts > count)) {
    base::bad_input("{}: expected more tensors for a depth of {} and {} experts, found {}",
                    file.path(),
                    config.depth,
                    config.experts,
                    count);
  }
  const std::vector<TensorEntry> expected = packed_entries(config, precision);
  for (const TensorEntry& entry : expected) {
    if (!file.contains(entry.name)) {
      base::bad_input("{}: expected tensor '{}' {}, found none",
                      file.path(),
                      entry.name,
                      base::to_string(entry.shape));
    }
  }
  if (expected.size() != file.entries().size()) {
    base::bad_input("{}: expected the {} tensors of a packed network, found {}",
                    file.path(),
                    expected.size(),
                    file.entries().size());
  }
  for (const TensorEntry& entry : expected) {
    const base::TensorView view = file.view(entry.name);
    if (view.dtype != entry.dtype || view.shape != entry.shape) {
      base::bad_input("{}: tensor '{}': expected {} {}, found {} {}",
                      file.path(),
                      entry.name,
                      base::name_of(entry.dtype),
                      base::to_string(entry.shape),
                      base::name_of(view.dtype),
                      base::to_string(view.shape));
    }
    // Used where they stand, all but the checksums.
    const size_t alignment = base::size_of(entry.dtype);
    const uint64_t offset = file.entry(entry.name).offset;
    if (entry.name != kChecksumTensor && offset % alignment != 0) {
      base::bad_input("{}: tensor '{}': expected its data at a multiple of {} bytes, found {}",
                      file.path(),
                      entry.name,
                      alignment,
                      offset);
    }
  }
}

std::vector<ExpertRegion> expert_regions(const formats::TensorFile& file,
                                         const DitConfig& config,
                                         Precision precision) {
  std::vector<ExpertRegion> regions;
  for (int64_t layer = 0; layer < config.depth; ++layer) {
    if (!config.is_moe(layer)) continue;
    const auto first = expert_groups(config, layer, 0, precision).front();
    const uint64_t begin = file.entry(first.name + ".packed").offset;
    uint64_t next = begin;
    for (int64_t expert = 0; expert < config.experts; ++expert) {
      for (const MatrixGroup& group : expert_groups(config, layer, expert, precision)) {
        next = expect_next(file, file.entry(group.name + ".packed"), next);
      }
    }
    regions.push_back({begin, next - begin});
  }
  return regions;
}

PackedSource::PackedSource(std::shared_ptr<const formats::TensorFile> file,
                           const DitConfig& config,
                           Precision precision,
                           bool experts_stream,
                           kernels::Matmul& matmul,
                           base::Arena& arena)
    : file_(std::move(file)),
      checksums_(*file_),
      config_(config),
      precision_(precision),
      matmul_(matmul),
      arena_(arena) {
  if (experts_stream) streamed_ = expert_regions(*file_, config, precision);
}

bool PackedSource::is_streamed(const TensorEntry& entry) const {
  return std::ranges::any_of(streamed_, [&](const ExpertRegion& region) {
    return entry.offset >= region.offset && entry.offset < region.offset + region.bytes;
  });
}

std::vector<kernels::PackedMatrix> PackedSource::matrices(const MatrixGroup& group) const {
  const TensorEntry& entry = file_->entry(group.name + ".packed");
  const std::byte* data = file_->view(entry.name).data;
  if (!is_streamed(entry)) checksums_.check(entry.name, {data, entry.bytes});
  const bool quantized = group.precision == Precision::kInt8;
  const float* bias = group.bias ? file_->view(group.name + ".bias").as<float>().data() : nullptr;
  kernels::QuantizedColumns columns;
  if (quantized) {
    columns.scale = file_->view(group.name + ".scale").as<float>().data();
    columns.offset = file_->view(group.name + ".offset").as<int32_t>().data();
  }
  std::vector<kernels::PackedMatrix> matrices;
  for (int64_t i = 0; i < group.count(); ++i) {
    const int64_t outputs = group.matrix_outputs(i);
    const kernels::BlockedMatrix stored = {
        data, group.precision, outputs, group.inputs, bias, columns};
    matrices.push_back(matmul_.adopt(stored, arena_));
    data += kernels::blocked_bytes(outputs, group.inputs, group.precision);
    if (bias != nullptr) bias += outputs;
    if (quantized) columns = {columns.scale + outputs, columns.offset + outputs};
  }
  if (!matmul_.adopts_in_place(group.precision)) {  // the arena has a copy
    file_->release({file_->view(entry.name).data, entry.bytes});
  }
  return matrices;
}

base::Tensor PackedSource::floats(const std::string& name) const {
  return base::convert(file_->view(name), base::DType::kF32);
}

// What follows writes.

namespace {

// A group's matrices on their way to the file.
struct PackedGroup {
  explicit PackedGroup(const MatrixGroup& the_group)
      : group(the_group), data(base::DType::kU8, {static_cast<int64_t>(packed_bytes(the_group))}) {
    if (group.precision != Precision::kInt8) return;
    scale.resize(static_cast<size_t>(outputs_of(group)));
    offset.resize(scale.size());
  }

  void pack(const WeightSource& weights, int64_t index) {
    size_t position = 0;
    int64_t first_output = 0;
    for (int64_t i = 0; i < index; ++i) {
      const int64_t outputs = group.matrix_outputs(i);
      position += kernels::blocked_bytes(outputs, group.inputs, group.precision);
      first_output += outputs;
    }
    kernels::QuantizedWeights quantized;
    if (group.precision == Precision::kInt8) {
      quantized = {scale.data() + first_output, offset.data() + first_output};
    }
    kernels::block_weights(matrix_rows(weights, group, index).view(),
                           group.precision,
                           quantized,
                           data.data() + position);
  }

  MatrixGroup group;
  base::Tensor data;
  std::vector<float> scale;
  std::vector<int32_t> offset;
};

std::span<const std::byte> bytes_of(const auto& values) { return std::as_bytes(std::span(values)); }

}  // namespace

void write_packed(const std::string& path,
                  const WeightSource& weights,
                  Precision precision,
                  Metadata metadata,
                  base::ThreadPool& pool) {
  constexpr size_t kBatchBytes = size_t{256} << 20;  // packed at a time
  const DitConfig& config = weights.config();
  metadata[kPackedKey] = layout_text(precision);
  formats::SafetensorsWriter writer(path, packed_entries(config, precision), metadata, 4096);
  const std::vector<MatrixGroup> groups = all_groups(config, precision);
  std::vector<PackedGroup> finished;  // their scales are written after all data
  std::vector<uint64_t> checksums;
  for (size_t first = 0; first < groups.size();) {
    std::vector<PackedGroup> batch;
    std::vector<std::pair<size_t, int64_t>> tasks;  // group of the batch, matrix
    for (size_t bytes = 0; first < groups.size() && bytes < kBatchBytes; ++first) {
      batch.emplace_back(groups[first]);
      bytes += batch.back().data.bytes();
      for (int64_t i = 0; i < groups[first].count(); ++i) tasks.emplace_back(batch.size() - 1, i);
    }
    pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
      const auto& [group, matrix] = tasks[static_cast<size_t>(i)];
      batch[group].pack(weights, matrix);
    });
    for (PackedGroup& group : batch) {
      writer.write({group.data.data(), group.data.bytes()});
      checksums.push_back(formats::hash64({group.data.data(), group.data.bytes()}));
      group.data = base::Tensor();
      finished.push_back(std::move(group));
    }
  }
  formats::Hasher64 rest;
  const auto write_rest = [&](std::span<const std::byte> bytes) {
    writer.write(bytes);
    rest.update(bytes);
  };
  for (const PackedGroup& group : finished) {
    write_rest(bytes_of(group.scale));
    write_rest(bytes_of(group.offset));
    if (!group.group.bias) continue;
    const base::Tensor bias = weights.floats(group.group.bias_name());
    write_rest({bias.view().data, bias.bytes()});
  }
  for (const std::string& name : plain_tensors(config)) {
    const base::Tensor values = weights.floats(name);
    write_rest({values.view().data, values.bytes()});
  }
  checksums.push_back(rest.digest());
  writer.write(bytes_of(checksums));
  writer.commit();
}

}  // namespace ditmoe::networks
