#pragma once

#include <cstdint>
#include <string>

namespace ditmoe::base {

// Bytes that can be taken without swapping: what the system has free, less where the control group
// of this process allows less. The largest number where neither tells.
uint64_t free_memory();

// The smallest limit that control groups of either version set to the process whose membership is
// described in `membership` (/proc/self/cgroup), below `mount` (/sys/fs/cgroup).
uint64_t memory_limit(const std::string& membership, const std::string& mount);

// "16.1 GiB", "1.48 GiB", "24.4 MiB", "1.5 KiB", "5 bytes".
std::string bytes_text(uint64_t bytes);

}  // namespace ditmoe::base
