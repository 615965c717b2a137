#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace ditmoe::base {

// SHA-256 (FIPS 180-4) of the bytes as 64 lower-case hexadecimal digits: names a file's contents in
// reports.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace ditmoe::base
