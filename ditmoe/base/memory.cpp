#include "ditmoe/base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include <fmt/format.h>

namespace ditmoe::base {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// The number that a file holds; unlimited for one that is not there, or says "max".
uint64_t number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;
}

uint64_t system_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes << 10;
  }
  return kUnlimited;
}

}  // namespace

uint64_t memory_limit(const std::string& membership, const std::string& mount) {
  // A container sees its own group as the root of the mount.
  uint64_t limit = std::min(number_in(mount + "/memory.max"),
                            number_in(mount + "/memory/memory.limit_in_bytes"));
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {  // "4:memory:/a/b", "0::/a/b"
    const size_t controllers = line.find(':');
    const size_t path = line.find(':', controllers + 1);
    if (controllers == std::string::npos || path == std::string::npos) continue;
    const std::string names = line.substr(controllers + 1, path - controllers - 1);
    const std::string group = line.substr(path + 1);
    if (names.empty()) limit = std::min(limit, number_in(mount + group + "/memory.max"));
    if (names == "memory") {
      limit = std::min(limit, number_in(mount + "/memory" + group + "/memory.limit_in_bytes"));
    }
  }
  return limit;
}

uint64_t free_memory() {
  return std::min(system_memory(), memory_limit("/proc/self/cgroup", "/sys/fs/cgroup"));
}

std::string bytes_text(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= uint64_t{10} << 30) return fmt::format("{:.1f} GiB", value / (1 << 30));
  if (bytes >= uint64_t{1} << 30) return fmt::format("{:.2f} GiB", value / (1 << 30));
  if (bytes >= uint64_t{1} << 20) return fmt::format("{:.1f} MiB", value / (1 << 20));
  if (bytes >= uint64_t{1} << 10) return fmt::format("{:.1f} KiB", value / (1 << 10));
  return fmt::format("{} bytes", bytes);
}

}  // namespace ditmoe::base
