#pragma once

#include <cstdint>
#include <vector>

namespace ditmoe::kernels {

// Rows of one product at most: larger tiles gain nothing once the packed weights pass through the
// cache once per so many rows, and exact sizes up to here are few enough to keep a primitive for
// each.
constexpr int64_t kMaxTileRows = 288;

// Rows [first, first + rows) of a larger matrix.
struct Tile {
  int64_t first = 0;
  int64_t rows = 0;
};

// Cuts rows into so many tiles of nearly equal height.
std::vector<Tile> split_rows(int64_t rows, int64_t count);

// Cuts rows into the fewest tiles of nearly equal height, none higher than kMaxTileRows.
std::vector<Tile> tiles_of(int64_t rows);

}  // namespace ditmoe::kernels
