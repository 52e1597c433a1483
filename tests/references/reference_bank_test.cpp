// Both placements of the bank against the whole batch in double, written from the formula with autograd.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/losses/host_tile_device.h"
#include "tests/references/reference_truth.h"
#include "trainer/references/reference_bank.h"

namespace muster {
namespace {

using namespace reference_test;

double gate(at::ScalarType dtype) {
  return dtype == at::kDouble ? 1e-12 : 2e-5;
}

struct Case {
  int ranks;
  at::ScalarType dtype;
  LossDevice device;
};

class Placement : public testing::TestWithParam<Case> {};

void expect_exact(Setting setting, const Case& tested, const std::string& placement, const std::string& negatives) {
  setting.device = tested.device;
  ReferencesConfig config =
      parse(placement + " " + negatives + " fusion_weight: 0.7 guidance_weight: 1.3 guidance_ramp_epochs: 4");
  config.set_per_identity(setting.per_identity);
  const Truth truth = whole_batch(setting, config, tested.dtype, 1.3 * 0.25, 0.7);
  for (const std::vector<int64_t>& rows : cuts(setting.identity.size(0), tested.ranks)) {
    std::mutex mutex;
    double worst = 0;
    run_ranks(tested.ranks, [&](Communicator& communicator) {
      const double error = error_on_rank(setting, config, truth, rows, tested.dtype, communicator);
      const std::lock_guard lock(mutex);
      worst = std::max(worst, error);
    });
    EXPECT_LE(worst, gate(tested.dtype)) << placement << " " << negatives << " B " << setting.identity.size(0)
                                         << " rows on rank 0: " << rows[0];
  }
}

TEST_P(Placement, EqualsTheWholeBatch) {
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    for (const char* negatives : {"negatives: BANK", "negatives: BATCH"}) {
      expect_exact(make_setting(13, 9, 8, 3), GetParam(), placement, negatives);
      expect_exact(make_setting(2, 3, 5, 4), GetParam(), placement, negatives);
      expect_exact(make_setting(31, 50, 24, 5), GetParam(), placement, negatives);
    }
  }
}

// Rows of one identity on several ranks, all of them or some.
TEST_P(Placement, EqualsTheWholeBatchWithSeveralReferencesAnIdentity) {
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    for (const char* negatives : {"negatives: BANK", "negatives: BATCH"}) {
      expect_exact(make_setting(13, 7, 8, 3, 3), GetParam(), placement, negatives);
      expect_exact(make_setting(5, 2, 5, 4, 2), GetParam(), placement, negatives);
      expect_exact(make_setting(31, 11, 24, 5, 5), GetParam(), placement, negatives);
    }
  }
}

TEST_P(Placement, HoldsWhenAllSamplesAreOneIdentity) {
  Setting setting = make_setting(9, 6, 8, 11);
  setting.identity.fill_(setting.bank_identity[2].item<int64_t>());
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    expect_exact(setting, GetParam(), placement, "negatives: BANK");
    expect_exact(setting, GetParam(), placement, "negatives: BATCH");
  }
}

TEST_P(Placement, HoldsWithWeightsOfSamples) {
  Setting setting = make_setting(12, 7, 8, 13);
  setting.weight = at::rand({12}, at::detail::createCPUGenerator(3), at::kDouble);
  setting.weight[4].zero_();
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    expect_exact(setting, GetParam(), placement, "negatives: BANK");
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int ranks = 1; ranks <= 4; ++ranks) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      all.push_back({ranks, dtype, {}});
      all.push_back({ranks, dtype, loss_test::host_loss_device()});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Ranks, Placement, testing::ValuesIn(cases()), [](const auto& tested) {
  return std::to_string(tested.param.ranks) + (tested.param.dtype == at::kFloat ? "Float" : "Double") +
         (tested.param.device.tiles == nullptr ? "" : "Programs");
});

// Of the value as a function of the references alone and of the features alone, by central differences.
TEST(ReferenceBank, GradientsEqualFiniteDifferences) {
  for (const int64_t per_identity : {1, 3}) {
    const Setting setting = make_setting(7, 5, 6, 21, per_identity);
    ReferencesConfig config =
        parse("fusion_weight: 1 guidance_weight: 1 guidance_ramp_epochs: 0 temperature: 0.2 placement: REPLICATED");
    config.set_per_identity(per_identity);
    run_ranks(1, [&](Communicator& communicator) {
      EXPECT_LE(finite_difference_error(setting, config, communicator), 1e-6) << per_identity;
    });
  }
}

// What must be zero is exactly zero: fusion alone leaves the features alone, guidance alone the references.
TEST(ReferenceBank, StopGradientsAreExact) {
  const Setting setting = make_setting(10, 6, 8, 31);
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    run_ranks(2, [&](Communicator& communicator) {
      const std::vector<int64_t> rows = {4, 6};
      const std::string more = std::string(" guidance_ramp_epochs: 0 ") + placement;
      Evaluated fusion = evaluate(setting, parse("fusion_weight: 1" + more), rows, at::kFloat, communicator);
      EXPECT_FALSE(fusion.result.d_image.defined());
      EXPECT_FALSE(fusion.result.d_text.defined());
      EXPECT_GT(fusion.squared_norm, 0);
      Evaluated guidance = evaluate(setting, parse("guidance_weight: 1" + more), rows, at::kFloat, communicator);
      EXPECT_GT(guidance.result.d_image.abs().max().item<float>(), 0);
      EXPECT_EQ(guidance.squared_norm, 0);
      EXPECT_EQ(guidance.bank->gradient().abs().sum().item<float>(), 0);
      const at::Tensor before = guidance.bank->rows().clone();
      guidance.bank->step(1, 1);
      EXPECT_TRUE(guidance.bank->rows().equal(before));
    });
  }
}

// The ramp is 0 in the first step: no product is made for the features.
TEST(ReferenceBank, GuidanceGrowsFromNothing) {
  const Setting setting = make_setting(6, 6, 8, 33);
  run_ranks(1, [&](Communicator& communicator) {
    ReferenceBank bank =
        make_bank(setting, parse("guidance_weight: 2 guidance_ramp_epochs: 4"), at::kDouble, communicator);
    const FeaturePair features{"global", setting.image, setting.text};
    EXPECT_FALSE(bank.evaluate(features, {setting.identity, {}, {}, {}}, {0, 0}).d_image.defined());
    const ReferenceResult half = bank.evaluate(features, {setting.identity, {}, {}, {}}, {0, 2});
    const ReferenceResult whole = bank.evaluate(features, {setting.identity, {}, {}, {}}, {0, 9});
    EXPECT_LE((half.d_image * 2 - whole.d_image).abs().max().item<double>(), 1e-15);
    EXPECT_DOUBLE_EQ(half.weighted, half.value);
    EXPECT_DOUBLE_EQ(whole.weighted, 2 * whole.value);
  });
}

// The bank's own Adam against Adam written in double, with rows brought back to length 1.
TEST(ReferenceBank, StepsAsAdamDoesAndKeepsLengths) {
  for (const char* text : {"negatives: BANK", "negatives: BATCH", "negatives: BATCH update: DENSE"}) {
    const Setting setting = make_setting(6, 9, 8, 41);
    const ReferencesConfig config = parse(std::string("fusion_weight: 1 rate: 0.01 ") + text);
    run_ranks(1, [&](Communicator& communicator) {
      ReferenceBank bank = make_bank(setting, config, at::kDouble, communicator);
      AdamTruth truth(bank, config);
      for (int step = 0; step < 4; ++step) {
        const at::Tensor identity = setting.bank_identity.index_select(0, at::tensor({step, 1, 2, 2, 3, step + 1}));
        bank.evaluate({"global", setting.image, setting.text}, {identity, {}, {}, {}}, {});
        bank.finish_gradient();
        truth.step(bank, identity, 0.5, 0.25);
        bank.step(0.5, 0.25);
        EXPECT_LE((bank.rows() - truth.rows).abs().max().item<double>(), 1e-13) << text << " step " << step;
        EXPECT_LE((bank.rows().norm(2, {1}) - 1).abs().max().item<double>(), 1e-14) << text;
      }
    });
  }
}

TEST(ReferenceBank, StepsAgreeOverPlacements) {
  const Setting setting = make_setting(11, 10, 8, 43);
  std::map<std::string, at::Tensor> rows;
  std::mutex mutex;
  for (const int ranks : {1, 2, 3, 4}) {
    for (const char* placement : {"REPLICATED", "SHARDED"}) {
      run_ranks(ranks, [&](Communicator& communicator) {
        const ReferencesConfig config = parse(std::string("fusion_weight: 1 rate: 0.01 placement: ") + placement);
        ReferenceBank bank = make_bank(setting, config, at::kDouble, communicator);
        for (int step = 0; step < 3; ++step) {
          evaluate_slice(bank, setting, split_rows(11, ranks), communicator);
          bank.finish_gradient();
          bank.step(1, 1);
        }
        const std::lock_guard lock(mutex);
        at::Tensor& all = rows[std::to_string(ranks) + placement];
        if (!all.defined()) all = at::zeros({10, 8}, at::kDouble);
        all.narrow(0, bank.first_row(), bank.rows().size(0)).copy_(bank.rows());
      });
    }
  }
  for (const auto& [name, matrix] : rows) {
    EXPECT_LE((matrix - rows.at("1REPLICATED")).abs().max().item<double>(), 1e-12) << name;
  }
}

TEST(ReferenceBank, RepeatedRunsHaveTheSameBits) {
  const Setting setting = make_setting(40, 30, 24, 51);
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    std::vector<at::Tensor> rows(2), gradients(2);
    for (size_t repeat = 0; repeat < 2; ++repeat) {
      run_ranks(3, [&](Communicator& communicator) {
        Evaluated done = evaluate(
            setting, parse(std::string("fusion_weight: 1 guidance_weight: 1 guidance_ramp_epochs: 0 ") + placement),
            split_rows(40, 3), at::kFloat, communicator);
        done.bank->step(1, 1);
        if (communicator.rank() != 1) return;
        rows[repeat] = done.bank->rows().clone();
        gradients[repeat] = done.result.d_image.clone();
      });
    }
    EXPECT_TRUE(rows[0].equal(rows[1])) << placement;
    EXPECT_TRUE(gradients[0].equal(gradients[1])) << placement;
  }
}

TEST(ReferenceBank, ValuesOfNormalDoNotDependOnRanksOrPlacement) {
  const Setting setting = make_setting(4, 11, 8, 61);
  std::mutex mutex;
  std::map<int64_t, std::vector<at::Tensor>> by_identity;
  for (const int ranks : {1, 3}) {
    run_ranks(ranks, [&](Communicator& communicator) {
      ReferenceBank bank(parse("fusion_weight: 1 placement: SHARDED"), ids_of(setting), 8, 7, 4, communicator);
      bank.initialise_normal();
      const std::lock_guard lock(mutex);
      for (int64_t i = 0; i < bank.rows().size(0); ++i) {
        by_identity[bank.order().identity_of(bank.first_row() + i)].push_back(bank.rows()[i].clone());
      }
    });
  }
  ASSERT_EQ(by_identity.size(), 11U);
  for (const auto& [identity, values] : by_identity) {
    ASSERT_EQ(values.size(), 2U);
    EXPECT_TRUE(values[0].equal(values[1])) << identity;
    EXPECT_NEAR(values[0].norm().item<float>(), 1, 1e-6);
  }
}

TEST(ReferenceBank, SumsBecomeDirections) {
  const Setting setting = make_setting(12, 5, 8, 71);
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    for (const int ranks : {1, 3}) {
      run_ranks(ranks, [&](Communicator& communicator) {
        ReferenceBank bank(parse(std::string("fusion_weight: 1 ") + placement), ids_of(setting), 8, 7, 4, communicator,
                           at::kDouble);
        bank.begin_sums();
        // Rank 0 has the first eight samples, the last rank the other three; identity 0 has none.
        const at::Tensor identity =
            setting.bank_identity.index_select(0, at::tensor({1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 4}));
        const int64_t parts = ranks == 1 ? 11 : 8;
        const bool last = communicator.rank() + 1 == ranks && ranks > 1;
        const int64_t first = last ? 8 : 0;
        const int64_t count = last ? 3 : (communicator.rank() == 0 ? parts : 0);
        bank.add_to_sums(identity.narrow(0, first, count), setting.image.narrow(0, first, count));
        bank.add_to_sums(identity.narrow(0, 0, 0), setting.image.narrow(0, 0, 0));
        EXPECT_EQ(bank.end_sums(), 1);
        for (int64_t i = 0; i < bank.rows().size(0); ++i) {
          const int64_t id = bank.order().identity_of(bank.first_row() + i);
          at::Tensor sum = at::zeros({8}, at::kDouble);
          for (int64_t j = 0; j < 11; ++j) {
            if (identity[j].item<int64_t>() == id) sum = sum + setting.image[j];
          }
          if (id != setting.bank_identity[0].item<int64_t>()) {
            EXPECT_LE((bank.rows()[i] - sum / sum.norm()).abs().max().item<double>(), 1e-14);
          }
          EXPECT_NEAR(bank.rows()[i].norm().item<double>(), 1, 1e-7);
        }
      });
    }
  }
}

TEST(ReferenceBank, MeansOfFeaturesAreThoseOfTheBatchesAtFirst) {
  const Setting setting = make_setting(10, 5, 8, 81);
  for (const int ranks : {1, 4}) {
    run_ranks(ranks, [&](Communicator& communicator) {
      ReferenceBank bank = make_bank(setting, parse("fusion_weight: 1"), at::kDouble, communicator);
      evaluate_slice(bank, setting, cuts(10, ranks).front(), communicator);
      bank.finish_gradient();
      EXPECT_EQ(find_tensor(bank.means(), "mean.updates", "").item<int64_t>(), 0);
      EXPECT_EQ(find_tensor(bank.means(), "mean.text", "").abs().max().item<double>(), 0);
      evaluate_slice(bank, setting, cuts(10, ranks).front(), communicator);
      bank.finish_gradient();
      bank.step(1, 1);
      EXPECT_THROW(bank.step(1, 1), std::logic_error);
      const NamedTensors means = bank.means();
      const auto mean = [](const at::Tensor& rows) { return (rows / rows.norm(2, {1}, true)).mean(0); };
      EXPECT_LE((find_tensor(means, "mean.image", "") - mean(setting.image)).abs().max().item<double>(), 1e-14);
      EXPECT_LE((find_tensor(means, "mean.text", "") - mean(setting.text)).abs().max().item<double>(), 1e-14);
    });
  }
}

TEST(ReferenceBank, AStateGoesToAnyPlacementByIdentity) {
  const Setting setting = make_setting(11, 10, 8, 91);
  run_ranks(1, [&](Communicator& one) {
    ReferenceBank from = make_bank(setting, parse("fusion_weight: 1 negatives: BATCH"), at::kFloat, one);
    evaluate_slice(from, setting, {11}, one);
    from.finish_gradient();
    from.step(1, 1);
    NamedTensors state;
    for (const auto& [name, tensor] : from.row_state()) state.emplace_back(name, tensor.flip(0).contiguous());
    std::mutex mutex;
    int64_t taken = 0;
    run_ranks(3, [&](Communicator& communicator) {
      ReferenceBank bank(parse("fusion_weight: 1 placement: SHARDED"), ids_of(setting), 8, 99, 4, communicator);
      const int64_t mine = bank.take_rows(state);
      EXPECT_EQ(mine, bank.rows().size(0));
      for (const auto& [name, tensor] : bank.row_state()) {
        for (int64_t i = 0; i < tensor.size(0); ++i) {
          const int64_t row = from.order().row_of(bank.order().identity_of(bank.first_row() + i));
          EXPECT_TRUE(tensor[i].equal(find_tensor(from.row_state(), name, "")[row])) << name;
        }
      }
      const std::lock_guard lock(mutex);
      taken += mine;
    });
    EXPECT_EQ(taken, 10);
  });
}

TEST(ReferenceBank, AnUnknownIdentityIsRefusedOnEveryRank) {
  Setting setting = make_setting(4, 5, 8, 3);
  setting.identity[3].fill_(123456);
  std::mutex mutex;
  int refused = 0;
  run_ranks(2, [&](Communicator& communicator) {
    ReferenceBank bank = make_bank(setting, parse("fusion_weight: 1 placement: SHARDED"), at::kDouble, communicator);
    try {
      evaluate_slice(bank, setting, {2, 2}, communicator);
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find("identity 123456 has none"), std::string::npos) << error.what();
      const std::lock_guard lock(mutex);
      ++refused;
    }
  });
  EXPECT_EQ(refused, 2);
}

TEST(ReferenceBank, FeaturesThatAreNotFiniteShowOnEveryRank) {
  const Setting setting = make_setting(4, 5, 8, 3);
  setting.image[3][1].fill_(std::nan(""));
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    run_ranks(2, [&](Communicator& communicator) {
      ReferenceBank bank =
          make_bank(setting, parse(std::string("fusion_weight: 1 ") + placement), at::kFloat, communicator);
      EXPECT_TRUE(std::isnan(evaluate_slice(bank, setting, {2, 2}, communicator).value));
    });
  }
}

// The best-matching reference takes most of the pull; one far below the others' maximum is no underflow.
TEST(ReferenceBank, SeveralReferencesHoldAtAnyTemperature) {
  const Setting setting = make_setting(7, 4, 6, 21, 3);
  for (const char* temperature : {"1e-4", "0.02", "10"}) {
    const ReferencesConfig config = parse(std::string("fusion_weight: 1 guidance_weight: 1 guidance_ramp_epochs: 0 "
                                                      "per_identity: 3 temperature: ") +
                                          temperature);
    const Truth truth = whole_batch(setting, config, at::kDouble, 1, 1);
    run_ranks(2, [&](Communicator& communicator) {
      EXPECT_LE(error_on_rank(setting, config, truth, {4, 3}, at::kDouble, communicator), 1e-11) << temperature;
    });
  }
}

TEST(ReferenceBank, SeveralReferencesStepAsAdamDoes) {
  for (const char* text : {"negatives: BANK", "negatives: BATCH", "negatives: BATCH update: DENSE"}) {
    const Setting setting = make_setting(6, 5, 8, 41, 2);
    const ReferencesConfig config = parse(std::string("fusion_weight: 1 rate: 0.01 per_identity: 2 ") + text);
    run_ranks(1, [&](Communicator& communicator) {
      ReferenceBank bank = make_bank(setting, config, at::kDouble, communicator);
      AdamTruth truth(bank, config);
      for (int step = 0; step < 3; ++step) {
        const at::Tensor identity = setting.bank_identity.index_select(0, at::tensor({step, 1, 2, 2, 3, 8 - step}));
        bank.evaluate({"global", setting.image, setting.text}, {identity, {}, {}, {}}, {});
        bank.finish_gradient();
        truth.step(bank, identity, 0.5, 0.25);
        bank.step(0.5, 0.25);
        EXPECT_LE((bank.rows() - truth.rows).abs().max().item<double>(), 1e-13) << text << " step " << step;
      }
    });
  }
}

// The first is the direction of the sum, the others lie a quarter of a random direction beside it; the same ones
// whatever the placement.
TEST(ReferenceBank, SumsOfSeveralReferencesLieApart) {
  const Setting setting = make_setting(12, 5, 8, 71, 3);
  std::mutex mutex;
  std::map<std::pair<int64_t, int64_t>, std::vector<at::Tensor>> by_row;
  for (const char* placement : {"placement: REPLICATED", "placement: SHARDED"}) {
    run_ranks(4, [&](Communicator& communicator) {
      ReferenceBank bank(parse(std::string("fusion_weight: 1 per_identity: 3 ") + placement), ids_of(setting), 8, 7, 4,
                         communicator, at::kDouble);
      EXPECT_EQ(bank.order().size(), 15);
      EXPECT_EQ(bank.order().identity_count(), 5);
      bank.begin_sums();
      const int64_t first = communicator.rank() * 3;
      bank.add_to_sums(setting.identity.narrow(0, first, 3), setting.image.narrow(0, first, 3));
      const int64_t drawn = bank.end_sums();
      const std::lock_guard lock(mutex);
      int64_t without = 0;
      for (int64_t i = 0; i < 5; ++i) {
        without += setting.identity.eq(setting.bank_identity[3 * i]).any().item<bool>() ? 0 : 1;
      }
      EXPECT_EQ(drawn, without);
      const at::Tensor slot = find_tensor(bank.row_state(), "slot", "");
      for (int64_t i = 0; i < bank.rows().size(0); ++i) {
        const int64_t row = bank.first_row() + i;
        EXPECT_EQ(slot[i].item<int64_t>(), row % 3);
        by_row[{bank.order().identity_of(row), row % 3}].push_back(bank.rows()[i].clone());
      }
    });
  }
  ASSERT_EQ(by_row.size(), 15U);
  for (const auto& [key, rows] : by_row) {
    ASSERT_EQ(rows.size(), 5U);  // four replicas and a shard
    for (const at::Tensor& row : rows) EXPECT_LE((row - rows[0]).abs().max().item<double>(), 1e-15);
    at::Tensor sum = at::zeros({8}, at::kDouble);
    for (int64_t j = 0; j < 12; ++j) {
      if (setting.identity[j].item<int64_t>() == key.first) sum = sum + setting.image[j];
    }
    if (sum.norm().item<double>() == 0) continue;
    const double cosine = (rows[0] * sum / sum.norm()).sum().item<double>();
    EXPECT_LE(cosine, key.second == 0 ? 1 + 1e-14 : 0.9999);
    EXPECT_GE(cosine, key.second == 0 ? 1 - 1e-14 : 0.95);
  }
}

TEST(ReferenceOrder, RowsOfAnIdentityFollowEachOther) {
  const ReferenceOrder one({7, -3, 12}, 5), three({7, -3, 12}, 5, 3);
  EXPECT_EQ(three.size(), 9);
  for (int64_t row = 0; row < 9; ++row) EXPECT_EQ(three.identity_of(row), one.identity_of(row / 3));
  for (const int64_t identity : {7, -3, 12}) EXPECT_EQ(three.row_of(identity), 3 * one.row_of(identity));
  EXPECT_EQ(three.row_of(8), -1);
}

TEST(ReferenceOrder, IsAFunctionOfSeedAndIdentities) {
  const ReferenceOrder order({7, -3, 12, 7, 100}, 5);
  EXPECT_EQ(order.size(), 4);
  for (const int64_t identity : {7, -3, 12, 100}) EXPECT_EQ(order.identity_of(order.row_of(identity)), identity);
  EXPECT_EQ(order.row_of(8), -1);
  EXPECT_EQ(ReferenceOrder({100, 12, 7, -3}, 5).identities(), order.identities());
  std::vector<int64_t> many(1000);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<int64_t>(i);
  EXPECT_NE(ReferenceOrder(many, 5).identities(), ReferenceOrder(many, 6).identities());
  EXPECT_NE(ReferenceOrder(many, 5).identities(), many);
}

}  // namespace
}  // namespace muster
