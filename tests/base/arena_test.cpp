#include "ditmoe/base/arena.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ditmoe/base/error.h"

namespace ditmoe::base {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

TEST(ArenaTest, PiecesAreZeroedAlignedAndApart) {
  Arena arena(kHugePage);
  std::vector<std::pair<std::byte*, size_t>> pieces;
  for (const size_t bytes : {size_t{0},
                             size_t{1},
                             size_t{63},
                             size_t{64},
                             size_t{65},
                             kHugePage,
                             size_t{100},
                             3 * kHugePage + 1,
                             size_t{7}}) {
    std::byte* piece = arena.take(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece) % 64, 0U) << bytes;
    EXPECT_TRUE(std::all_of(piece, piece + bytes, [](std::byte b) { return b == std::byte{0}; }))
        << bytes;
    std::memset(piece, static_cast<int>(pieces.size()) + 1, bytes);
    pieces.emplace_back(piece, bytes);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto [piece, bytes] = pieces[i];
    const auto own = static_cast<std::byte>(i + 1);
    EXPECT_TRUE(std::all_of(piece, piece + bytes, [own](std::byte b) { return b == own; })) << i;
  }
}

TEST(ArenaTest, AsksTheSystemForBlocks) {
  Arena arena(2 * kHugePage);
  EXPECT_EQ(arena.bytes(), 0U);
  arena.take(1);
  EXPECT_EQ(arena.bytes(), 2 * kHugePage);
  arena.take(2 * kHugePage - 64);  // just fits
  EXPECT_EQ(arena.bytes(), 2 * kHugePage);
  arena.take(1);
  EXPECT_EQ(arena.bytes(), 4 * kHugePage);
  arena.take(5 * kHugePage + 1);  // more than a block
  EXPECT_EQ(arena.bytes(), 10 * kHugePage);
}

TEST(ArenaTest, ArraysHoldWhatIsAskedFor) {
  Arena arena(kHugePage);
  int32_t* numbers = arena.take_array<int32_t>(1000);
  double* more = arena.take_array<double>(3);
  EXPECT_GE(reinterpret_cast<std::byte*>(more) - reinterpret_cast<std::byte*>(numbers), 4000);
  std::fill_n(numbers, 1000, 7);
  EXPECT_EQ(more[0], 0.0);
}

TEST(ArenaTest, ThreadsTakePiecesAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kPieces = 500;
  Arena arena(kHugePage);
  std::vector<std::vector<std::byte*>> taken(kThreads);
  std::vector<std::thread> threads;
  for (auto& own : taken) {
    threads.emplace_back([&arena, &own] {
      for (int i = 0; i < kPieces; ++i) own.push_back(arena.take(1000));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<std::byte*> all;
  for (const auto& own : taken) all.insert(all.end(), own.begin(), own.end());
  std::ranges::sort(all);
  for (size_t i = 1; i < all.size(); ++i) ASSERT_GE(all[i] - all[i - 1], 1000) << i;
}

TEST(ArenaTest, MoreThanThereIsIsAFailure) {
  Arena arena(kHugePage);
  try {
    arena.take(size_t{1} << 60);
    ADD_FAILURE() << "a million terabytes were given";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFailure);
  }
  EXPECT_NE(arena.take(10), nullptr);
}

}  // namespace
}  // namespace ditmoe::base
