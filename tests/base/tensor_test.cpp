#include "ditmoe/base/tensor.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

namespace ditmoe::base {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

TEST(NumElementsTest, IsTheProduct) {
  EXPECT_EQ(num_elements({}), 1);
  EXPECT_EQ(num_elements({2, 3, 4}), 24);
  EXPECT_EQ(num_elements({5, 0, 7}), 0);
  EXPECT_EQ(num_elements({kLargest}), kLargest);
}

TEST(NumElementsTest, NegativeAndOverflowAreBadInput) {
  EXPECT_THROW(num_elements({2, -1}), Error);
  EXPECT_THROW(num_elements({kLargest, 2}), Error);
  EXPECT_THROW(num_elements({int64_t{1} << 32, int64_t{1} << 31}), Error);
  EXPECT_THROW(num_elements({0, kLargest, kLargest}), Error);
  EXPECT_THROW(num_elements({kLargest, kLargest, 0}), Error);
}

TEST(ShapeTest, Prints) {
  EXPECT_EQ(to_string({}), "[]");
  EXPECT_EQ(to_string({2, 3}), "[2, 3]");
}

TEST(TensorTest, IsZeroFilledAndAligned) {
  for (const int64_t size : {0, 1, 63, 64, 65, 1000}) {
    const Tensor tensor(DType::kF32, {size});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data) % 64, 0U);
    for (const float value : tensor.as<float>()) EXPECT_EQ(value, 0.0F);
  }
}

TEST(TensorTest, DefaultIsEmpty) {
  const Tensor tensor;
  EXPECT_EQ(tensor.size(), 0);
  EXPECT_EQ(tensor.bytes(), 0U);
}

TEST(TensorTest, CloneIsIndependent) {
  Tensor tensor = Tensor::from({2}, std::array{1.0F, 2.0F});
  const Tensor copy = tensor.clone();
  tensor.as<float>()[0] = 9;
  EXPECT_EQ(copy.as<float>()[0], 1.0F);
  EXPECT_EQ(copy.shape(), Shape{2});
}

TEST(TensorTest, MovePreservesTheData) {
  Tensor tensor = Tensor::from({2}, std::array{1.0F, 2.0F});
  const std::byte* data = tensor.view().data;
  const Tensor moved = std::move(tensor);
  EXPECT_EQ(moved.view().data, data);
  EXPECT_EQ(moved.as<float>()[1], 2.0F);
}

TEST(TensorDeathTest, WrongTypeIsABug) {
  const Tensor tensor(DType::kF32, {1});
  EXPECT_DEATH(tensor.as<double>(), "assertion failed");
}

TEST(TensorDeathTest, WrongNumberOfValuesIsABug) {
  EXPECT_DEATH(Tensor::from({3}, std::array{1.0F}), "assertion failed");
}

TEST(ConvertTest, EveryPairOfTypesKeepsSmallIntegers) {
  const Tensor source = Tensor::from({2, 2}, std::array{0.0F, 1.0F, 0.0F, 1.0F});
  for (int from = 0; from <= static_cast<int>(DType::kBool); ++from) {
    for (int to = 0; to <= static_cast<int>(DType::kBool); ++to) {
      const Tensor first = convert(source.view(), static_cast<DType>(from));
      const Tensor second = convert(first.view(), static_cast<DType>(to));
      EXPECT_EQ(second.dtype(), static_cast<DType>(to));
      EXPECT_EQ(second.shape(), (Shape{2, 2}));
      const Tensor back = convert(second.view(), DType::kF32);
      EXPECT_EQ(std::memcmp(back.view().data, source.view().data, source.bytes()), 0);
    }
  }
}

TEST(ConvertTest, RoundsToNearestEven) {
  const Tensor source = Tensor::from({2}, std::array{1.0F + 0x1p-8F, 1.0F + 3 * 0x1p-8F});
  const Tensor rounded = convert(convert(source.view(), DType::kBF16).view(), DType::kF32);
  EXPECT_EQ(rounded.as<float>()[0], 1.0F);
  EXPECT_EQ(rounded.as<float>()[1], 1.0F + 4 * 0x1p-8F);
}

TEST(ConvertTest, IntegersTruncateAndSaturate) {
  const Tensor source =
      Tensor::from({6}, std::array{-1.9F, 300.5F, 1e30F, -1e30F, std::nanf(""), 127.9F});
  const Tensor bytes = convert(source.view(), DType::kU8);
  const Tensor small = convert(source.view(), DType::kI8);
  const Tensor wide = convert(source.view(), DType::kI64);
  const std::array<uint8_t, 6> expected_bytes = {0, 255, 255, 0, 0, 127};
  const std::array<int8_t, 6> expected_small = {-1, 127, 127, -128, 0, 127};
  const std::array<int64_t, 6> expected_wide = {-1, 300, kLargest, -kLargest - 1, 0, 127};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(bytes.as<uint8_t>()[i], expected_bytes[i]) << i;
    EXPECT_EQ(small.as<int8_t>()[i], expected_small[i]) << i;
    EXPECT_EQ(wide.as<int64_t>()[i], expected_wide[i]) << i;
  }
}

TEST(ConvertTest, SourceMayBeUnaligned) {
  const std::array<float, 2> values = {1.5F, -2.5F};
  std::array<std::byte, 1 + sizeof(values)> buffer = {};
  std::memcpy(buffer.data() + 1, values.data(), sizeof(values));
  const TensorView view = {DType::kF32, {2}, buffer.data() + 1};
  EXPECT_EQ(convert(view, DType::kF64).as<double>()[1], -2.5);
  EXPECT_EQ(convert(view, DType::kF32).as<float>()[0], 1.5F);
}

TEST(ConvertTest, AnyNonZeroByteIsTrue) {
  const std::array<std::byte, 3> bytes = {std::byte{0}, std::byte{2}, std::byte{255}};
  const Tensor floats = convert({DType::kBool, {3}, bytes.data()}, DType::kF32);
  EXPECT_EQ(floats.as<float>()[0], 0.0F);
  EXPECT_EQ(floats.as<float>()[1], 1.0F);
  EXPECT_EQ(floats.as<float>()[2], 1.0F);
}

}  // namespace
}  // namespace ditmoe::base
