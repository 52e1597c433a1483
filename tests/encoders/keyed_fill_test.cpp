#include "trainer/encoders/keyed_fill.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "dataloader/random.h"
#include "trainer/encoders/dropout.h"

namespace muster {
namespace {

constexpr FillKey kKey{0x123456789abcdef0, 0xfedcba9876543210, 77, 0};

// The scalar generator's words in the order of keyed_fill: 64 first words, 64 second words, ...
std::vector<uint32_t> words_of(const FillKey& key, size_t size) {
  KeyedRandom random(key.seed, key.stream, key.purpose);
  std::vector<uint32_t> words(size);
  for (size_t begin = 0; begin < size; begin += 256) {
    for (size_t i = 0; i < 256; ++i) words[begin + (i % 4) * 64 + i / 4] = random.next_u32();
  }
  return words;
}

TEST(KeyedFill, UniformIsMadeOfTheScalarGeneratorsWords) {
  const std::vector<uint32_t> words = words_of(kKey, 1024);
  std::vector<float> values(1000);
  fill_uniform(kKey, 0.5F, values.data(), 1000);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_FLOAT_EQ(values[i], static_cast<float>(static_cast<double>(words[i] >> 8) * 0x1p-24 - 0.5)) << i;
  }
}

TEST(KeyedFill, NormalIsBoxMuller) {
  const std::vector<uint32_t> words = words_of(kKey, 256 * 400);
  std::vector<float> values(words.size());
  fill_normal(kKey, 1.0F, values.data(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t pair = i % 256 % 128, begin = i - i % 256;
    const double radius = std::sqrt(-2 * std::log(1 - (words[begin + pair] >> 8) * 0x1p-24));
    const double angle = 2 * M_PI * (words[begin + 128 + pair] >> 8) * 0x1p-24;
    const double expected = radius * (i % 256 < 128 ? std::cos(angle) : std::sin(angle));
    EXPECT_NEAR(values[i], expected, 2e-6) << i;
  }
}

TEST(KeyedFill, PartsEqualTheWhole) {
  std::vector<float> whole(2000), parts(2000);
  fill_normal(kKey, 2.0F, whole.data(), 2000);
  for (int64_t begin = 0; begin < 2000; begin += 512) {
    FillKey key = kKey;
    key.begin = begin;
    fill_normal(key, 2.0F, parts.data() + begin, std::min<int64_t>(512, 2000 - begin));
  }
  EXPECT_EQ(whole, parts);
}

TEST(Dropout, KeepsTheExpectationAndDropsAtTheRate) {
  for (const double rate : {0.1, 0.5, 0.9}) {
    const int64_t rows = 64, elements = 20000;
    const DropoutKey key{rate, 7, at::zeros({rows}, at::kLong) + 12};
    DropoutKey different = key;
    different.positions = key.positions.clone();
    for (int64_t i = 0; i < rows; ++i) different.positions[i] = i;
    const at::Tensor dropped = add_with_dropout(at::zeros({rows, elements}), at::ones({rows, elements}), different, 3);
    const double count = static_cast<double>(rows * elements);
    const double kept = (dropped != 0).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(kept, 1 - rate, 5 * std::sqrt(rate * (1 - rate) / count));
    EXPECT_NEAR(dropped.to(at::kDouble).mean().item<double>(), 1, 5 * std::sqrt(rate / (1 - rate) / count));
    EXPECT_FLOAT_EQ(dropped.max().item<float>(), static_cast<float>(1 / (1 - rate)));
    const at::Tensor same = add_with_dropout(at::zeros({2, elements}), at::ones({2, elements}), key, 3);
    EXPECT_TRUE(at::equal(same[0], same[1]));
  }
}

TEST(Dropout, MasksAreKeyedByPositionSeedAndLayer) {
  const at::Tensor x = at::randn({4, 5, 33}), branch = at::randn({4, 5, 33});
  const at::Tensor positions = at::tensor({int64_t{9}, int64_t{2}, int64_t{1} << 35, int64_t{4}}, at::kLong);
  const at::Tensor whole = add_with_dropout(x, branch, {0.4, 1, positions}, 0);
  for (const int64_t row : {2, 0, 3, 1}) {
    const auto cut = [&](const at::Tensor& t) { return t.narrow(0, row, 1); };
    EXPECT_TRUE(at::equal(add_with_dropout(cut(x), cut(branch), {0.4, 1, cut(positions)}, 0), cut(whole)));
    EXPECT_FALSE(at::equal(add_with_dropout(cut(x), cut(branch), {0.4, 2, cut(positions)}, 0), cut(whole)));
    EXPECT_FALSE(at::equal(add_with_dropout(cut(x), cut(branch), {0.4, 1, cut(positions)}, 1), cut(whole)));
    EXPECT_FALSE(at::equal(add_with_dropout(cut(x), cut(branch), {0.4, 1, cut(positions) + 1}, 0), cut(whole)));
  }
  EXPECT_TRUE(at::equal(add_with_dropout(x, branch, {0, 1, positions}, 0), x + branch));
  EXPECT_TRUE(at::equal(add_with_dropout(x, branch, {0.4, 1, {}}, 0), x + branch));
}

}  // namespace
}  // namespace muster
