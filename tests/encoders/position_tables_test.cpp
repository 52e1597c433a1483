#include "trainer/encoders/position_tables.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dataloader/formats/safetensors.h"
#include "dataloader/random.h"
#include "tests/support/child_process.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

at::Tensor drawn(int64_t rows, int64_t width) {
  at::Tensor table = at::empty({rows, width}, at::kFloat);
  KeyedRandom random(5, static_cast<uint64_t>(rows), 1U);
  for (int64_t i = 0; i < table.numel(); ++i)
    table.mutable_data_ptr<float>()[i] = static_cast<float>(random.next_normal());
  return table;
}

struct Case {
  std::string name;
  PatchGrid from, to;
};

// CLIP's 224 to 384 x 128 at patch 16; smaller, larger, mixed; one row.
const std::vector<Case> kCases = {{"pedes", {14, 14}, {24, 8}},
                                  {"smaller", {14, 14}, {7, 7}},
                                  {"larger", {7, 7}, {12, 12}},
                                  {"odd", {5, 3}, {4, 7}},
                                  {"row", {1, 6}, {3, 2}}};

class PositionTables : public testing::Test {
 protected:
  // tests/peers/resize_positions.py: NumPy, double precision, from the formulas.
  static NamedTensors reference(const std::string& folder, const std::string& what, const std::vector<int64_t>& sizes,
                                const at::Tensor& table) {
    write_safetensors(folder + "/in", {{"table", table}});
    std::vector<std::string> command = {reference_python(), MUSTER_SOURCE_DIR "/tests/peers/resize_positions.py",
                                        folder + "/in", folder + "/out", what};
    for (const int64_t size : sizes) command.push_back(std::to_string(size));
    const ProgramResult made = run_program(command);
    EXPECT_EQ(made.exit_code, 0) << made.output;
    return read_safetensors(folder + "/out");
  }

  static double error(const at::Tensor& value, const NamedTensors& expected) {
    const at::Tensor& truth = find_tensor(expected, "table", "out");
    EXPECT_EQ(value.sizes(), truth.sizes());
    return (value.to(at::kDouble) - truth).abs().max().item<double>();
  }
};

TEST_F(PositionTables, GridsEqualTheFormulas) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  for (const auto& [name, from, to] : kCases) {
    const at::Tensor table = drawn(1 + from.rows * from.columns, 6);
    const std::vector<int64_t> sizes = {from.rows, from.columns, to.rows, to.columns};
    const at::Tensor bilinear = resize_patch_positions(table, from, to, GridFilter::kBilinear);
    const at::Tensor bicubic = resize_patch_positions(table, from, to, GridFilter::kBicubic);
    EXPECT_LE(error(bilinear, reference(folder.path(), "bilinear", sizes, table)), 1e-6) << name;
    EXPECT_LE(error(bicubic, reference(folder.path(), "bicubic", sizes, table)), 1e-6) << name;
    EXPECT_TRUE(bilinear[0].equal(table[0])) << "the class token's row is kept";
    EXPECT_TRUE(bicubic[0].equal(table[0]));
    EXPECT_TRUE(bilinear.is_contiguous());
  }
}

TEST_F(PositionTables, TextEqualsTheFormula) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  for (const int64_t to : {3, 40, 76, 77, 78, 120}) {
    const at::Tensor table = drawn(77, 5);
    const at::Tensor resized = resize_text_positions(table, to);
    EXPECT_LE(error(resized, reference(folder.path(), "text", {to}, table)), 1e-6) << to;
    EXPECT_TRUE(resized[0].equal(table[0]));
    EXPECT_TRUE(resized[to - 1].equal(table[76]));
  }
  const at::Tensor same = drawn(77, 5);
  EXPECT_TRUE(resize_text_positions(same, 77).equal(same));
}

// By hand: two columns become four at half-integer centres, 0.75 and 0.25 of each neighbour.
TEST_F(PositionTables, ASmallGridByHand) {
  const at::Tensor table = at::tensor({9.0F, 0.0F, 4.0F}).view({3, 1});
  const at::Tensor wide = resize_patch_positions(table, {1, 2}, {1, 4}, GridFilter::kBilinear);
  EXPECT_TRUE(wide.equal(at::tensor({9.0F, 0.0F, 1.0F, 3.0F, 4.0F}).view({5, 1})));
  const at::Tensor text = resize_text_positions(at::tensor({5.0F, 0.0F, 4.0F, 7.0F}).view({4, 1}), 6);
  EXPECT_TRUE(text.equal(at::tensor({5.0F, 0.0F, 1.0F, 3.0F, 4.0F, 7.0F}).view({6, 1})));
}

}  // namespace
}  // namespace muster
