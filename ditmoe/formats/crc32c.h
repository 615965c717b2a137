#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ditmoe::formats {

// CRC-32C of the bytes: the polynomial of Castagnoli, as iSCSI (RFC 3720, 12.1) and TFRecord have
// it.
uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace ditmoe::formats
