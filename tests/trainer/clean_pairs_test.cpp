// Clean and noisy pairs: the mixture against scikit-learn's, the division by its definition, over ranks and over stops.
#include "trainer/clean_pairs.h"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "comm/thread_communicator.h"
#include "dataloader/tokenizer.h"
#include "launch/error.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/tiny_run.h"
#include "trainer/gaussian_mixture.h"

namespace muster {
namespace {

std::vector<double> mixed_values(int kind) {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) {
    const double u = ((i * 7919) % 1009) / 1009.0;
    values.push_back(kind == 1 ? u * u * u : i % 4 != 0 ? u * u * 0.3 : 0.55 + 0.4 * u);
  }
  return values;
}

struct PeerFit {
  int kind;
  GaussianMixtureOptions options;
  double numbers[6];  // weights, means, variances
  int64_t iterations;
  bool converged;
  double probability;  // of value 12
  int clean;
};

// tests/peers/gaussian_mixture.py
const PeerFit kPeer[] = {
    {0,
     {10, 0.01, 0.0005},
     {0.7499476303293918, 0.2500523696706082, 0.100747443269061, 0.7483863760254348, 0.008496634490178817,
      0.01413497512398787},
     2,
     true,
     7.663221999680498e-07,
     300},
    {0,
     {100, 0.0001, 1e-06},
     {0.7499556576962061, 0.250044342303794, 0.1007490729796754, 0.7484022797029368, 0.007997725788795649,
      0.01362874784672638},
     2,
     true,
     2.92034215702733e-07,
     300},
    {0,
     {3, 1e-12, 0.0005},
     {0.7499475933218095, 0.2500524066781905, 0.1007474343422402, 0.7483863069483018, 0.00849663322120197,
      0.01413500549319703},
     3,
     false,
     7.663192775657202e-07,
     300},
    {1,
     {10, 0.01, 0.0005},
     {0.568943446420533, 0.431056553579467, 0.05293035836449093, 0.5128297527954191, 0.004380229748227394,
      0.06175749993228751},
     9,
     true,
     0.9685857984885679,
     233},
    {1,
     {100, 0.0001, 1e-06},
     {0.3147562093440745, 0.6852437906559254, 0.009304511609380886, 0.3622715840731384, 0.0001192518500125049,
      0.07818651415623921},
     56,
     true,
     0.9618613891445968,
     133},
    {1,
     {3, 1e-12, 0.0005},
     {0.6650156271626332, 0.3349843728373668, 0.07793724954518599, 0.5950830355072374, 0.008778333226991985,
      0.04647787383986354},
     3,
     false,
     0.9930224995082162,
     264},
};

TEST(GaussianMixture, IsScikitLearnsFromTheBestCut) {
  for (const PeerFit& peer : kPeer) {
    const std::vector<double> values = mixed_values(peer.kind);
    const GaussianMixture mixture = fit_gaussian_mixture(values, peer.options);
    for (size_t c = 0; c < 2; ++c) {
      EXPECT_NEAR(mixture.component[c].weight, peer.numbers[c], 1e-11);
      EXPECT_NEAR(mixture.component[c].mean, peer.numbers[2 + c], 1e-11);
      EXPECT_NEAR(mixture.component[c].variance, peer.numbers[4 + c], 1e-11);
    }
    EXPECT_EQ(mixture.iterations, peer.iterations);
    EXPECT_EQ(mixture.converged, peer.converged);
    EXPECT_NEAR(mixture.probability_of_first(values[12]), peer.probability, 1e-10 * peer.probability);
    int clean = 0;
    for (const double value : values) clean += mixture.probability_of_first(value) > 0.5 ? 1 : 0;
    EXPECT_EQ(clean, peer.clean);
  }
  EXPECT_THROW(fit_gaussian_mixture({1}, {}), std::logic_error);
}

CleanPairsConfig rde_config() {
  CleanPairsConfig config;
  config.set_iterations(10);
  return config;
}

TEST(FindClean, ScalesLossesAndSplitsThem) {
  std::vector<double> losses = mixed_values(0);
  for (double& loss : losses) loss = 7 + 5 * loss;
  const std::vector<bool> clean = find_clean(losses, rde_config());
  for (size_t i = 0; i < clean.size(); ++i) EXPECT_EQ(clean[i], i % 4 != 0) << i;
}

// processor.split_prob() of the public code. With so large a floor the components hardly differ but in weight.
TEST(FindClean, OneInAHundredIsNoisyWhereNoneIs) {
  const std::vector<double> losses = mixed_values(0);
  CleanPairsConfig config = rde_config();
  config.set_variance_floor(10);
  const std::vector<bool> clean = find_clean(losses, config);
  EXPECT_EQ(std::count(clean.begin(), clean.end(), false), 5);
  std::vector<double> sorted = losses;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < clean.size(); ++i) EXPECT_EQ(clean[i], losses[i] < sorted[395]) << i;
}

TEST(FindClean, EqualLossesAreCleanAndOthersMustBeFinite) {
  const std::vector<bool> clean = find_clean({2, 2, 2}, rde_config());
  EXPECT_EQ(std::count(clean.begin(), clean.end(), true), 3);
  EXPECT_THROW(find_clean({2, std::numeric_limits<double>::quiet_NaN()}, rde_config()), NonFiniteError);
}

TEST(AgreeOnClean, ACoinOfSeedAndPositionDecidesWhereTermsDiffer) {
  std::vector<std::vector<bool>> terms(2);
  for (int i = 0; i < 4000; ++i) {
    terms[0].push_back(i % 4 < 2);
    terms[1].push_back(i % 2 == 0);
  }
  const std::vector<bool> counts = agree_on_clean(terms, 7, 100);
  int heads = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (i % 4 == 1 || i % 4 == 2) {
      heads += counts[i] ? 1 : 0;
    } else {
      EXPECT_EQ(counts[i], i % 4 == 0);
    }
  }
  EXPECT_NEAR(heads, 1000, 100);
  EXPECT_EQ(agree_on_clean(terms, 7, 100), counts);
  EXPECT_NE(agree_on_clean(terms, 8, 100), counts);
  EXPECT_NE(agree_on_clean(terms, 7, 101), counts);
}

RunSettings rde_settings() {
  RunSettings settings = tiny_settings();
  settings.model.mutable_token_selection()->set_width(8);
  settings.model.mutable_token_selection()->set_ratio(0.5);
  settings.model = resolve_model(settings.model);
  settings.objective.Clear();
  for (const char* pair : {"global", "selected"}) {
    Term* term = settings.objective.add_term();
    term->set_pair(pair);
    term->mutable_tal()->set_temperature(0.1);
  }
  settings.train.set_chunk(0);
  settings.train.mutable_optimizer()->set_rate(0.03);  // a division made later in an epoch is another one
  *settings.train.mutable_clean_pairs() = rde_config();
  return settings;
}

// The same batches whatever the ranks: a division is a matter of the run.
TEST(PairDivision, IsTheSameForAnyNumberOfRanks) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  const Store store(folder / "store");
  const TrainingStores stores(store);
  const RunSettings settings = rde_settings();
  const auto tokenizer = make_tokenizer(settings.data.tokenizer());
  std::string alone;
  for (const int ranks : {1, 2, 3}) {
    run_ranks(ranks, [&](Communicator& communicator) {
      const std::shared_ptr<Model> model = make_model(settings.model, 1);
      LossObjective objective(settings.objective);
      PairDivision division(settings, stores, *tokenizer, *model, objective, communicator, 4);
      EXPECT_TRUE(division.begin_epoch(2));
      EXPECT_FALSE(division.begin_epoch(2));
      EXPECT_TRUE(model->is_training());
      const std::string state = division.state().SerializeAsString();
      if (ranks == 1) alone = state;
      EXPECT_EQ(state, alone) << "rank " << communicator.rank() << " of " << ranks;
      PairDivision other(settings, stores, *tokenizer, *model, objective, communicator, 4);
      other.resume(division.state());
      EXPECT_EQ(other.state().SerializeAsString(), state);
      const at::Tensor positions = at::arange(64, 96, at::kLong);
      const at::Tensor weights = division.weights(positions);
      EXPECT_TRUE(other.weights(positions).equal(weights));
      EXPECT_GT(weights.sum().item<double>(), 0);
      EXPECT_LT(weights.sum().item<double>(), 32);
    });
  }
}

void train(const std::string& store_path, const std::string& run_dir, int ranks, int64_t stop_after) {
  const Store store(store_path);
  run_ranks(ranks, [&](Communicator& communicator) {
    Trainer trainer(rde_settings(), "test", store, run_dir, communicator);
    trainer.run(stop_after);
  });
}

// Batch norm's running statistics and the epoch's division among what goes on.
TEST(PairDivision, ARunGoesOnBitForBit) {
  const TemporaryFolder folder;
  write_tiny_store(folder / "store", kIdentities);
  train(folder / "store", folder / "unbroken", 2, kSteps);
  const std::string unbroken = final_checkpoint(folder / "unbroken");
  for (const int64_t stop : {8, 14}) {  // at an epoch's edge and within
    const std::string run = folder / ("stopped" + std::to_string(stop));
    train(folder / "store", run, 2, stop);
    train(folder / "store", run, 2, kSteps);
    for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.textproto"}) {
      EXPECT_EQ(bytes_of(final_checkpoint(run) + file), bytes_of(unbroken + file)) << file << " after " << stop;
    }
  }
}

}  // namespace
}  // namespace muster
