#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ditmoe/base/tensor.h"
#include "ditmoe/networks/model_file.h"

namespace ditmoe::networks {

// Where an executor takes a network's weights from, piece by piece.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const DitConfig& config() const = 0;

  // BF16 where the named weight is stored so, else F32: the type it is best read in.
  virtual base::DType dtype(const std::string& name) const = 0;

  // Shape of the weight named canonically.
  virtual const base::Shape& shape(const std::string& name) const = 0;

  // Writes elements [first, first + count) as F64, F32, F16 or BF16 to dst, aligned for the type.
  // Threads may read at once.
  virtual void read(const std::string& name,
                    int64_t first,
                    int64_t count,
                    base::DType dtype,
                    std::byte* dst) const = 0;

  // The type that holds every value of the named weight exactly: the file's own.
  virtual base::DType stored_dtype(const std::string& name) const = 0;

  // All of a weight in F32.
  base::Tensor floats(const std::string& name) const;
};

// The weights of a model file. What has been read leaves memory again, so that a network packed
// from a file takes its own size, not the file's as well.
class FileWeights final : public WeightSource {
 public:
  explicit FileWeights(ModelFile model);

  const DitConfig& config() const override { return model_.config(); }

  base::DType dtype(const std::string& name) const override;
  base::DType stored_dtype(const std::string& name) const override;
  const base::Shape& shape(const std::string& name) const override;
  void read(const std::string& name,
            int64_t first,
            int64_t count,
            base::DType dtype,
            std::byte* dst) const override;

 private:
  ModelFile model_;
  std::map<std::string, base::Shape> shapes_;
};

// Weights for measurements: uniform with the deviation 1/sqrt(inputs) of matrices, 0.02 of vectors,
// so that activations keep their size. A weight depends on seed, name and place alone.
class RandomWeights final : public WeightSource {
 public:
  RandomWeights(const DitConfig& config, uint64_t seed);

  const DitConfig& config() const override { return config_; }

  base::DType dtype(const std::string& /*name*/) const override { return base::DType::kF32; }

  base::DType stored_dtype(const std::string& /*name*/) const override { return base::DType::kF32; }

  const base::Shape& shape(const std::string& name) const override;
  void read(const std::string& name,
            int64_t first,
            int64_t count,
            base::DType dtype,
            std::byte* dst) const override;

 private:
  struct Entry {
    base::Shape shape;
    uint64_t key = 0;
    float amplitude = 0;
  };

  DitConfig config_;
  std::map<std::string, Entry> entries_;
};

}  // namespace ditmoe::networks
