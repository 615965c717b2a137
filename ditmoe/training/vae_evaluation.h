#pragma once

#include <cstdint>
#include <vector>

#include "ditmoe/base/function_ref.h"
#include "ditmoe/base/thread_pool.h"
#include "ditmoe/data/training_stream.h"
#include "ditmoe/formats/png.h"
#include "ditmoe/training/vae_updater.h"

namespace ditmoe::training {

// How well images come back from the means of their latents, clipped to [-1, 1].
struct Reconstruction {
  double mse = 0;         // over all pixels
  double psnr = 0;        // dB: 10 log10(4 / mse), 4 being the square of what pixels range over
  double image_psnr = 0;  // the mean of the images' own
};

// What latents are like: samples of the posteriors of some images.
struct LatentStatistics {
  double mean = 0;
  double deviation = 1;
  std::vector<double> channel_means;
  std::vector<double> channel_deviations;
  double noise_deviation = 0;  // the part of the posteriors' own variance in that, as a deviation
  double kl = 0;               // Posterior::divergence()
};

// Looks at the averaged weights. Bits do not depend on the number of threads.
class VaeEvaluation {
 public:
  // All must outlive the object.
  VaeEvaluation(const VaeRecipe& recipe, const VaeState& state, base::ThreadPool& pool);

  // Of the samples of the first positions of a stream: always the same images.
  Reconstruction reconstruction(const data::TrainingStream& stream, int64_t images) const;

  // Likewise; the noise of samples is that of positions from 0 on.
  LatentStatistics latents(const data::TrainingStream& stream, int64_t images) const;

  // A sheet of pairs, each image left of what comes back of it.
  formats::Image pairs(const data::TrainingStream& stream, int64_t images) const;

 private:
  // Some samples of a stream and what to compute with.
  struct Batch {
    int64_t number = 0;
    int64_t first = 0;  // position of its first sample
    at::Tensor images;
    const VaeModule& module;
  };

  // Calls work for batches of the first `images` samples, several at once.
  void for_batches(const data::TrainingStream& stream,
                   int64_t images,
                   base::FunctionRef<void(const Batch& batch)> work) const;

  const VaeRecipe& recipe_;
  const VaeState& state_;
  base::ThreadPool& pool_;
};

}  // namespace ditmoe::training
