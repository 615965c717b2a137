#include "ditmoe/kernels/tiles.h"

namespace ditmoe::kernels {

std::vector<Tile> split_rows(int64_t rows, int64_t count) {
  std::vector<Tile> tiles;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = rows * i / count;
    tiles.push_back({first, rows * (i + 1) / count - first});
  }
  return tiles;
}

std::vector<Tile> tiles_of(int64_t rows) {
  return split_rows(rows, (rows + kMaxTileRows - 1) / kMaxTileRows);
}

}  // namespace ditmoe::kernels
