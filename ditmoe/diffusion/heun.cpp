#include <vector>

#include "ditmoe/diffusion/flow_times.h"
#include "ditmoe/diffusion/guided_prediction.h"
#include "ditmoe/diffusion/samplers.h"

namespace ditmoe::diffusion {
namespace {

// x ← x - dt·(v(x, t) + v(x - dt·v(x, t), t - dt)) / 2. The last step is Euler's: t = 0 is a time
// of the flow, but training all but never draws times so near to it. One first-order step leaves
// the order of the whole at two.
class HeunSampler final : public Sampler {
 public:
  explicit HeunSampler(int64_t steps) : times_(steps) {}

  void run(Denoiser& denoiser,
           const Guidance& guidance,
           std::span<const int32_t> y_N,
           const NoiseSource& /*noise*/,
           std::span<float> x_NCHW,
           const StepCallback& after_step) const override {
    GuidedPrediction velocity(denoiser, guidance, y_N);
    const float dt = times_.step_size();
    std::vector<float> half(x_NCHW.size());  // x - dt/2·v(x, t)
    for (int64_t done = 0; done < times_.steps(); ++done) {
      const bool last = done + 1 == times_.steps();
      const double t = times_.at(done);
      velocity.predict(x_NCHW, static_cast<float>(t), t);
      if (!last) move(velocity, x_NCHW, 0.5f * dt, half);
      move(velocity, x_NCHW, dt, x_NCHW);
      if (!last) {
        const double t_next = times_.at(done + 1);
        velocity.predict(x_NCHW, static_cast<float>(t_next), t_next);
        move(velocity, half, 0.5f * dt, x_NCHW);
      }
      if (after_step) after_step(done + 1, times_.steps());
    }
  }

 private:
  // to = from - dt·v, which may be the same array.
  static void move(const GuidedPrediction& velocity,
                   std::span<const float> from,
                   float dt,
                   std::span<float> to) {
    size_t next = 0;
    for (int64_t image = 0; image < velocity.images(); ++image) {
      for (const float v : velocity.mean(image)) {
        to[next] = from[next] - dt * v;
        ++next;
      }
    }
  }

  FlowTimes times_;
};

}  // namespace

std::unique_ptr<Sampler> make_heun_sampler(int64_t steps) {
  return std::make_unique<HeunSampler>(steps);
}

}  // namespace ditmoe::diffusion
