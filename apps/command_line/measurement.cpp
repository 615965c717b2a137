#include "apps/command_line/measurement.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <numeric>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

#include "ditmoe/base/cpu.h"
#include "ditmoe/base/error.h"
#include "ditmoe/base/log.h"
#include "ditmoe/base/version.h"

namespace ditmoe::apps {
namespace {

constexpr double kBearableLoad = 0.1;  // CPUs

// Time that all CPUs were busy since the machine started; 0 where it is not told.
double machine_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  std::array<double, 8> ticks = {};  // user nice system idle iowait irq softirq steal
  file >> word;
  for (double& value : ticks) file >> value;
  if (!file) return 0;
  const double busy = std::accumulate(ticks.begin(), ticks.end(), 0.0) - ticks[3] - ticks[4];
  return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double own_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

double Timings::total() const { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }

double Timings::quantile(double quantile) const {
  DITMOE_ASSERT(!seconds_.empty());
  std::vector<double> sorted = seconds_;
  std::ranges::sort(sorted);
  const double rank = quantile * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], rank - static_cast<double>(below));
}

base::Json Timings::json() const {
  return {{"repetitions", count()},
          {"median_ms", 1e3 * median()},
          {"p10_ms", 1e3 * quantile(0.1)},
          {"p90_ms", 1e3 * quantile(0.9)}};
}

ForeignLoad::ForeignLoad()
    : start_(std::chrono::steady_clock::now()), machine_(machine_seconds()), own_(own_seconds()) {}

double ForeignLoad::cpus() const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double foreign = machine_seconds() - machine_ - (own_seconds() - own_);
  const double cpus = std::max(0.0, foreign / elapsed.count());
  if (cpus > kBearableLoad) {
    base::log_warning("other programs took {:.2f} CPUs meanwhile: these figures are worth little",
                      cpus);
  }
  return cpus;
}

int64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

base::Json machine_json(int threads) {
  return {{"version", base::version()},
          {"cpu", base::cpu_name()},
          {"isa", base::name_of(base::chosen_isa())},
          {"threads", threads}};
}

}  // namespace ditmoe::apps
