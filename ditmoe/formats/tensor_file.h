#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ditmoe/base/tensor.h"

namespace ditmoe::formats {

// One tensor as a file describes it.
struct TensorEntry {
  std::string name;
  base::DType dtype = base::DType::kF32;
  base::Shape shape;
  uint64_t offset = 0;  // of its first byte in its file; 0 where its bytes do not stand together
  uint64_t bytes = 0;   // of its elements, densely
};

enum class FileFormat {
  kSafetensors,
  kShardedSafetensors,  // several safetensors files and an index of them
  kPytorch,             // written by torch.save
};

// "safetensors", "sharded safetensors", "PyTorch".
std::string_view name_of(FileFormat format);

// The sets of weights that a training checkpoint holds side by side.
enum class WeightSet { kEma, kModel };

// "ema", "model", and back (bad_input naming what, the words allowed and what was found).
std::string_view to_word(WeightSet weights);
WeightSet weight_set_from(std::string_view word, const std::string& what);

// The named tensors of one checkpoint, whatever its format. Opening reads and checks headers only;
// values are looked at in place, mapped from the file.
class TensorFile {
 public:
  // Opens a file that is recognised by its content: safetensors, the index of a sharded one, or a
  // PyTorch checkpoint; or a folder that holds model.safetensors or
  // diffusion_pytorch_model.safetensors, or the index of one (the same name with .index.json).
  // weights: which set to take from a PyTorch training checkpoint; by default the EMA where there
  // is one. Throws bad_input "<path>: ..." for a file that is damaged or none of these, and where
  // weights asks for a set that the file does not tell apart.
  static std::shared_ptr<const TensorFile> open(const std::string& path,
                                                std::optional<WeightSet> weights = {});

  virtual ~TensorFile() = default;
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  // The file; the index of a sharded one.
  const std::string& path() const { return path_; }

  virtual FileFormat format() const = 0;

  // In the order of the file.
  const std::vector<TensorEntry>& entries() const { return entries_; }

  // What the file says besides: `__metadata__` of safetensors; of PyTorch checkpoints the training
  // arguments that are numbers, truth values or text, as "args.<name>".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  bool contains(const std::string& name) const { return by_name_.contains(name); }

  // Throws bad_input for an unknown name.
  const TensorEntry& entry(const std::string& name) const;

  // The tensor's elements, row-major, as long as this object lives; perhaps unaligned for their
  // type. Elements that the file has in another order are put together when first asked for, and
  // kept. Threads may ask at once. Throws bad_input for an unknown name.
  virtual base::TensorView view(const std::string& name) const = 0;

  // See MappedFile::expect_whole; call it when values of views have been read, before using them.
  virtual void expect_whole() const = 0;

  // See MappedFile::release. part: of a view; nothing happens where it is not mapped.
  virtual void release(std::span<const std::byte> part) const = 0;

 protected:
  // Names are distinct.
  TensorFile(std::string path,
             std::vector<TensorEntry> entries,
             std::map<std::string, std::string> metadata);

  // Position in entries(); throws as entry.
  size_t index_of(const std::string& name) const;

 private:
  std::string path_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string, size_t> by_name_;
};

// The files that the tensors are read from: of a sharded one the index and those it names.
std::vector<std::string> files_of(const TensorFile& file);

// The element type with the most bytes; F32 where there are none.
base::DType main_dtype(const TensorFile& file);

}  // namespace ditmoe::formats
