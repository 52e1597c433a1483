// `muster loss`: exactness that anyone can check, and what it says of inputs that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <filesystem>

#include "dataloader/formats/atomic_file.h"
#include "dataloader/formats/safetensors.h"
#include "tests/losses/loss_reference.h"
#include "tests/support/child_process.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using namespace loss_test;
using testing::HasSubstr;

constexpr double kLogScale = 2.718281828459045;

class LossCommand : public testing::Test {
 protected:
  void write_config(const std::string& objective) {
    write_file_atomically(folder_ / "config.textproto", "objective { " + objective + " }\n");
  }

  static NamedTensors inputs(const Batch& batch, at::ScalarType dtype) {
    return {{"image", batch.image.to(dtype)},
            {"text", batch.text.to(dtype)},
            {"identity", batch.identity},
            {"log_scale", at::full({}, kLogScale, at::kDouble)}};
  }

  static NamedTensors all_inputs(const Batch& batch, at::ScalarType dtype) {
    NamedTensors tensors = inputs(batch, dtype);
    tensors.emplace_back("weight", batch.weight.to(at::kDouble));
    tensors.emplace_back("logit_bias", at::full({}, -16.5, at::kDouble));
    tensors.emplace_back("image.local", batch.local_image.to(dtype));
    tensors.emplace_back("text.local", batch.local_text.to(dtype));
    return tensors;
  }

  void write_features(const NamedTensors& tensors) { write_safetensors(folder_ / "features.safetensors", tensors); }

  std::vector<std::string> arguments() const {
    return {muster_program(), "loss",
            "--config",       folder_ / "config.textproto",
            "--features",     folder_ / "features.safetensors",
            "--out",          folder_ / "out.safetensors"};
  }

  void expect_refusal(const std::string& line, int exit_code = 2) {
    const ProgramResult result = run_program(arguments());
    EXPECT_EQ(result.exit_code, exit_code) << result.output;
    EXPECT_THAT(result.output, HasSubstr(line));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out.safetensors"));
  }

  TemporaryFolder folder_;
};

TEST_F(LossCommand, EqualsTheWholeBatchAtAnyNumberOfRanks) {
  const std::string text = objectives().back();
  write_config(text);
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const Batch batch = make_batch(19, 16, 8, 41).weighted(3).to(dtype);
    write_features(all_inputs(batch, dtype));
    const Answer expected = reference(parse_objective(text), batch, kLogScale);
    for (const int ranks : {1, 3}) {
      const ProgramResult run = run_program(ranks == 1 ? arguments() : under_mpirun(ranks, arguments()));
      ASSERT_EQ(run.exit_code, 0) << run.output;
      const std::string path = folder_ / "out.safetensors";
      const NamedTensors out = read_safetensors(path);
      LossResult result;
      result.value = find_tensor(out, "loss", path).item<double>();
      for (size_t i = 0; i < expected.terms.size(); ++i) {
        result.terms.push_back(find_tensor(out, "loss." + std::to_string(i), path).item<double>());
      }
      for (const std::string suffix : {"", ".local"}) {
        result.gradient.pairs.push_back(
            {"", find_tensor(out, "grad.image" + suffix, path), find_tensor(out, "grad.text" + suffix, path)});
      }
      EXPECT_EQ(result.gradient.pairs[0].image.scalar_type(), dtype);
      const Errors errors = compare(result, expected, {19}, 0,
                                    {find_tensor(out, "grad.log_scale", path).item<double>(),
                                     find_tensor(out, "grad.logit_bias", path).item<double>()});
      EXPECT_LE(errors.value, dtype == at::kDouble ? 1e-12 : 2e-5);
      EXPECT_LE(errors.gradient, dtype == at::kDouble ? 1e-12 : 2e-5);
      std::filesystem::remove(path);
    }
  }
}

TEST_F(LossCommand, AgreesWithNumPy) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const Batch batch = make_batch(17, 12, 7, 43).weighted(6);
  const std::vector<std::vector<std::string>> cases = {
      {"info_nce {}", "info_nce", "scale"},
      {"info_nce { positives: IDENTITY }", "info_nce_identity", "scale"},
      {"info_nce { positives: IDENTITY self_target: 0.4 self_target_ramp_epochs: 3 }", "info_nce_self_identity",
       "scale"},
      {"cyclic {}", "cyclic", "1"},
      {"sdm {}", "sdm", "scale"},
      {"sdm { temperature: 0.05 }", "sdm", "0.05"},
      {"cmpm {}", "cmpm", "1"},
      {"siglip {}", "siglip", "scale"},
      {"siglip { positives: IDENTITY temperature: 0.1 }", "siglip_identity", "0.1"},
      {"triplet { margin: 0.2 }", "triplet", "1"},
      {"triplet { margin: 0.2 negatives: ALL reduction: SUM }", "triplet_all_sum", "1"},
      {"triplet { margin: 0.2 negatives: SOFT top_k: 3 temperature: 0.05 }", "triplet_soft", "0.05"},
      {"nt_xent {}", "nt_xent", "scale"},
      {"nt_xent { temperature: 0.04 }", "nt_xent", "0.04"},
      {"tal {}", "tal_sum", "0.015"},
      {"tal { temperature: 0.05 reduction: MEAN }", "tal", "0.05"},
      {"tal { margin: 0.2 temperature: 0.02 negatives: HARDEST }", "trl_sum", "0.02"}};
  for (const bool weighted : {false, true}) {
    for (const auto& one : cases) {
      write_config("term { " + one[0] + " }");
      NamedTensors features = inputs(batch, at::kDouble);
      if (weighted) features.emplace_back("weight", batch.weight);
      if (one[1].find("siglip") == 0) features.emplace_back("logit_bias", at::full({}, -7.5, at::kDouble));
      write_features(features);
      const ProgramResult run = run_program(arguments());
      ASSERT_EQ(run.exit_code, 0) << run.output;
      const ProgramResult check =
          run_program({reference_python(), MUSTER_SOURCE_DIR "/tests/peers/check_losses.py",
                       folder_ / "features.safetensors", folder_ / "out.safetensors", one[1], one[2]});
      EXPECT_EQ(check.exit_code, 0) << check.output;
    }
  }
}

// 1 to 4 regions and 0 to 5 words a sample.
NamedTensors set_inputs() {
  at::Generator generator = at::detail::createCPUGenerator(9);
  const at::Tensor regions = at::randint(1, 5, {11}, generator, at::kLong);
  const at::Tensor words = at::randint(0, 6, {11}, generator, at::kLong);
  const auto rows = [&](const at::Tensor& sizes) {
    return at::randn({sizes.sum().item<int64_t>(), 6}, generator, at::kDouble);
  };
  return {{"image", rows(regions)},
          {"text", rows(words)},
          {"image_sizes", regions},
          {"text_sizes", words},
          {"identity", at::randint(8, {11}, generator, at::kLong)},
          {"log_scale", at::full({}, kLogScale, at::kDouble)}};
}

TEST_F(LossCommand, AgreesWithNumPyOfSetsOfRows) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  write_features(set_inputs());
  const std::vector<std::vector<std::string>> cases = {
      {"triplet { margin: 0.2 reduction: SUM }", "triplet_sum", "1", "MRSW"},
      {"triplet { margin: 0.2 negatives: ALL reduction: SUM }", "triplet_all_sum", "1", "SYMM"},
      {"info_nce { temperature: 0.5 }", "info_nce", "0.5", "MWSR"},
      {"sdm { temperature: 0.5 }", "sdm", "0.5", "MRAVGW"}};
  for (const auto& one : cases) {
    write_config("alignment { mode: " + one[3] + " } term { " + one[0] + " }");
    for (const int ranks : {1, 3}) {
      const ProgramResult run = run_program(ranks == 1 ? arguments() : under_mpirun(ranks, arguments()));
      ASSERT_EQ(run.exit_code, 0) << run.output;
      const ProgramResult check =
          run_program({reference_python(), MUSTER_SOURCE_DIR "/tests/peers/check_losses.py",
                       folder_ / "features.safetensors", folder_ / "out.safetensors", one[1], one[2], one[3]});
      EXPECT_EQ(check.exit_code, 0) << check.output;
    }
  }
}

TEST_F(LossCommand, RefusesSetsThatAreNot) {
  write_config("term { triplet {} }");
  const NamedTensors good = set_inputs();
  const auto refused = [&](size_t tensor, const at::Tensor& value, const std::string& line) {
    NamedTensors bad = good;
    bad[tensor].second = value;
    write_features(bad);
    expect_refusal(line);
  };
  refused(2, good[2].second.to(at::kFloat), "'image_sizes' is Float [11]");
  refused(2, good[2].second - 1, "'image_sizes'[");
  refused(3, good[3].second * (int64_t{1} << 40), "'text_sizes'[");
  refused(3, good[3].second.clamp_max(1), "'text_sizes' counts ");
  refused(3, at::cat({good[3].second, at::zeros({1}, at::kLong)}), "'image_sizes' has 11 samples, 'text_sizes' 12");
  refused(1, good[1].second.narrow(1, 0, 5).contiguous(), "give it the width and dtype of 'image'");
  NamedTensors alone = good;
  alone.erase(alone.begin() + 3);
  write_features(alone);
  expect_refusal("text_sizes");
  write_features(good);
  write_config("term { cmpm {} }");
  expect_refusal("objective.term[0] is cmpm, which needs one feature a sample");
  write_config("alignment { floor_at_zero: true } term { triplet {} }");
  expect_refusal("objective.alignment.floor_at_zero is of the best words of regions");
}

TEST_F(LossCommand, RefusesWhatItCannotUse) {
  const Batch batch = make_batch(5, 4, 3, 1);
  const NamedTensors good = inputs(batch, at::kFloat);
  write_features(good);
  write_config("term { info_nce { positves: PAIR } }");
  expect_refusal("positves");
  write_config("");
  expect_refusal("objective has no term");
  write_config("term { sdm { temperature: -1 } }");
  expect_refusal("objective.term[0].sdm.temperature is -1");
  write_config("term { pair: 'local' sdm {} }");
  expect_refusal("objective.term[0].pair is \"local\", but the features have only global");
  write_file_atomically(folder_ / "config.textproto", "train { steps: 1 }\n");
  expect_refusal("no objective");
  write_config("term { info_nce {} }");

  NamedTensors bad = good;
  bad.emplace_back("logit_bias", at::zeros({}, at::kFloat));
  write_features(bad);
  expect_refusal("'logit_bias' is given, but no term");
  bad.back().first = "labels";
  write_features(bad);
  expect_refusal("'labels' is not an input");
  bad = good;
  bad.emplace_back("image.local", batch.local_image.to(at::kFloat));
  write_features(bad);
  expect_refusal("text.local");
  bad.emplace_back("text.local", batch.local_text.to(at::kFloat));
  bad[bad.size() - 2].second = batch.local_image.to(at::kDouble);
  bad[bad.size() - 1].second = batch.local_text.to(at::kDouble);
  write_features(bad);
  expect_refusal("'image' is Float [5, 4] of 5 samples, 'image.local' Double [5, 3] of 5");
  bad = good;
  bad.emplace_back("weight", at::full({4}, 1.0, at::kFloat));
  write_features(bad);
  expect_refusal("'weight' is Float [4]");
  bad.back().second = at::full({5}, -1.0, at::kFloat);
  write_features(bad);
  expect_refusal("sample 0 of the global batch has the weight -1");
  bad = good;
  bad[1].second = batch.text.narrow(0, 0, 4).to(at::kFloat);
  write_features(bad);
  expect_refusal("'text' is Float [4, 4]");
  bad = good;
  bad[2].second = batch.identity.to(at::kInt);
  write_features(bad);
  expect_refusal("'identity' is Int [5]");
  bad = good;
  bad[0].second = batch.image.to(at::kHalf);
  write_features(bad);
  expect_refusal("'image' is Half [5, 4]");
  bad = good;
  bad.erase(bad.begin());
  write_features(bad);
  expect_refusal("image");
  bad = good;
  bad[3].second = at::full({2}, 1.0, at::kFloat);
  write_features(bad);
  expect_refusal("'log_scale' is Float [2]");
  bad = good;
  bad[0].second = bad[0].second.clone();
  bad[0].second[3][2].fill_(std::nan(""));
  write_features(bad);
  expect_refusal("the loss is not finite", 77);
}

}  // namespace
}  // namespace muster
