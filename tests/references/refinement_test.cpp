// Against the formulas of mmref.md, section 2, taken literally in float64: every similarity is made, references of
// every row included, and sorted.
#include "trainer/references/refinement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "tests/retrieval/made_embeddings.h"
#include "tests/support/temporary_folder.h"
#include "trainer/references/refined_gallery.h"
#include "trainer/retrieval/identity_means.h"
#include "trainer/retrieval/search_index.h"

namespace muster {
namespace {

constexpr int64_t kWidth = 24;

// Identities have a direction in the first half; all rows share a gap of their side and vary much in the other half.
EmbeddingRows people(int64_t rows, int64_t identities, float gap, uint32_t seed) {
  EmbeddingRows made = normal_rows(rows, kWidth, identities, seed);
  const EmbeddingRows directions = normal_rows(identities, kWidth, 1, 77);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t identity = made.identity[r].item<int64_t>();
    auto* row = made.features.mutable_data_ptr<float>() + r * kWidth;
    const auto* own = directions.features.const_data_ptr<float>() + identity * kWidth;
    for (int64_t c = 0; c < kWidth; ++c) row[c] = c < kWidth / 2 ? own[c] + 0.3F * row[c] + gap : 1.5F * row[c];
  }
  return made;
}

struct Case {
  RefinementConfig::Phi phi;
  bool z_scores;
  double beta;
  int64_t references;
  int64_t top_k = 0;
};

RefinementConfig config_of(const Case& one) {
  RefinementConfig config;
  config.set_z_scores(one.z_scores);
  config.set_temperature(0.3);
  config.add_phi(one.phi);
  config.add_beta(one.beta);
  return config;
}

ReferenceBasis made_basis(int64_t references) {
  EmbeddingRows rows = normal_rows(references, kWidth, 1, 5);
  for (int64_t c = kWidth / 2; c < kWidth; ++c) rows.features.select(1, c).mul_(0.2);
  const at::Tensor unit = rows.features.div(rows.features.norm(2, 1, true));
  const EmbeddingRows means = normal_rows(2, kWidth, 1, 6);
  return {unit, means.features[0].mul(0.1).contiguous(), means.features[1].mul(0.1).contiguous()};
}

at::Tensor unit_double(const at::Tensor& rows) {
  const at::Tensor wide = rows.to(at::kDouble);
  return wide.div(wide.norm(2, 1, true));
}

// The mean of rows of each identity, identities ascending.
at::Tensor means_of(const at::Tensor& rows, const EmbeddingRows& labelled, const EmbeddingRows& classes) {
  std::vector<at::Tensor> means;
  for (int64_t c = 0; c < classes.identity.size(0); ++c) {
    means.push_back(
        rows.index_select(0, labelled.identity.eq(classes.identity[c]).nonzero().flatten()).mean(0, /*keepdim=*/true));
  }
  return at::cat(means);
}

// phi of what the references see of rows, R x: [n,m], of length 1.
at::Tensor naive_projection(const ReferenceBasis& basis, const at::Tensor& of_rows, bool is_text, const Case& one) {
  const at::Tensor references = basis.rows.to(at::kDouble);
  at::Tensor seen = of_rows;
  if (one.phi == RefinementConfig::CENTRE) {
    seen = seen.sub(references.matmul((is_text ? basis.mean_text : basis.mean_image).to(at::kDouble)));
  }
  if (one.phi == RefinementConfig::SOFTMAX) seen = seen.div(0.3).softmax(1);
  return seen.div(seen.norm(2, 1, true));
}

// R x of unit rows.
at::Tensor naive_view(const ReferenceBasis& basis, const at::Tensor& rows) {
  return unit_double(rows).matmul(basis.rows.to(at::kDouble).t());
}

at::Tensor z(const at::Tensor& scores, bool z_scores) {
  if (!z_scores) return scores;
  return scores.sub(scores.mean(1, true)).div(scores.std(1, false, true));
}

at::Tensor among_the_best(const at::Tensor& plain, const at::Tensor& mixed, int64_t k) {
  const at::Tensor scores = plain.clone();
  for (int64_t q = 0; q < plain.size(0); ++q) {
    const at::Tensor best = plain[q].argsort(true, 0, true).narrow(0, 0, std::min(k, plain.size(1)));
    scores[q].scatter_(0, best, mixed[q].index_select(0, best).add(1000));
  }
  return scores;
}

RetrievalMetrics figures_of(const at::Tensor& scores, const EmbeddingRows& queries, const EmbeddingRows& gallery) {
  return metrics_of(queries, gallery, [&](int64_t q) {
    const at::Tensor order = scores[q].argsort(true, 0, true);
    const auto* best = order.const_data_ptr<int64_t>();
    return std::vector<int64_t>(best, best + order.size(0));
  });
}

BothDirections refined_alone(const ReferenceBasis& basis, const Case& one, const EmbeddingRows& texts,
                             const EmbeddingRows& images) {
  LocalCommunicator alone;
  return Refinement(basis, config_of(one), one.phi, texts, images, alone).evaluate(one.beta, one.top_k, alone);
}

class RefinementCases : public testing::TestWithParam<Case> {
 protected:
  const EmbeddingRows texts_ = people(90, 31, 0.4F, 1);
  const EmbeddingRows images_ = people(130, 30, -0.4F, 2);
  const ReferenceBasis basis_ = made_basis(GetParam().references);

  // plain: scores of texts and images; view: what the references see of the texts, [n,m].
  void expect_formulas(const EmbeddingRows& texts, const at::Tensor& plain, const at::Tensor& view) const {
    const at::Tensor seen =
        naive_projection(basis_, view, true, GetParam())
            .matmul(naive_projection(basis_, naive_view(basis_, images_.features), false, GetParam()).t());
    const bool z_scores = GetParam().z_scores;
    // The others of each query stay as they are, below.
    const auto mixed = [&](const at::Tensor& a, const at::Tensor& b) {
      const at::Tensor all = z(a, z_scores).add(z(b, z_scores), GetParam().beta);
      return GetParam().top_k == 0 ? all : among_the_best(a, all, GetParam().top_k);
    };
    const BothDirections made = refined_alone(basis_, GetParam(), texts, images_);
    expect_near(made.text_to_image, figures_of(mixed(plain, seen), texts, images_));
    expect_near(made.image_to_text, figures_of(mixed(plain.t(), seen.t()), images_, texts));
    EXPECT_NE(made.text_to_image.map, figures_of(plain, texts, images_).map);
  }
};

TEST_P(RefinementCases, EqualsTheFormulasTakenLiterally) {
  const at::Tensor plain = unit_double(texts_.features).matmul(unit_double(images_.features).t());
  expect_formulas(texts_, plain, naive_view(basis_, texts_.features));
}

// Written from the captions: the mean of their cosines, and the mean of what the references see of them.
TEST_P(RefinementCases, OfClassMeansEqualsTheFormulasTakenLiterally) {
  LocalCommunicator alone;
  const EmbeddingRows classes = identity_means(texts_, alone);
  ASSERT_GT(classes.identity.size(0), 25);
  const at::Tensor cosines = unit_double(texts_.features).matmul(unit_double(images_.features).t());
  expect_formulas(classes, means_of(cosines, texts_, classes),
                  means_of(naive_view(basis_, texts_.features), texts_, classes));
}

TEST_P(RefinementCases, OfClassMeansHasTheBitsOfOneProcess) {
  LocalCommunicator one;
  const BothDirections alone = refined_alone(basis_, GetParam(), identity_means(texts_, one), images_);
  for (const auto& [of_texts, of_images] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{45, 45}, {65, 65}}, {{0, 90, 0}, {7, 0, 123}}}) {
    run_ranks(static_cast<int>(of_texts.size()), [&, &texts = of_texts, &images = of_images](Communicator& ranks) {
      const EmbeddingRows classes = identity_means(share(texts_, texts, ranks.rank()), ranks);
      const Refinement refinement(basis_, config_of(GetParam()), GetParam().phi, classes,
                                  share(images_, images, ranks.rank()), ranks);
      const BothDirections made = refinement.evaluate(GetParam().beta, GetParam().top_k, ranks);
      if (std::memcmp(&made, &alone, sizeof(made)) != 0) throw std::runtime_error("other figures than one process's");
    });
  }
}

TEST_P(RefinementCases, HasTheBitsOfOneProcess) {
  const BothDirections alone = refined_alone(basis_, GetParam(), texts_, images_);
  for (const auto& [of_texts, of_images] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{45, 45}, {65, 65}}, {{0, 90, 0}, {7, 0, 123}}, {{22, 23, 22, 23}, {130, 0, 0, 0}}}) {
    run_ranks(static_cast<int>(of_texts.size()),
              [&, &texts = of_texts, &images = of_images](Communicator& communicator) {
                const Refinement refinement(basis_, config_of(GetParam()), GetParam().phi,
                                            share(texts_, texts, communicator.rank()),
                                            share(images_, images, communicator.rank()), communicator);
                const BothDirections made = refinement.evaluate(GetParam().beta, GetParam().top_k, communicator);
                if (std::memcmp(&made, &alone, sizeof(made)) != 0)
                  throw std::runtime_error("other figures than one process's");
              });
  }
}

// Ranks of one text after the other, from an index of the images.
TEST_P(RefinementCases, AGalleryAskedOneByOneRanksTheSame) {
  const Case& one = GetParam();
  SearchIndex index(images_.features.size(0), kWidth, Storage::kFloat32);
  index.add(images_.features);
  const RefinedGallery gallery(basis_, config_of(one), {one.phi, one.beta, one.top_k}, images_.features, index);
  at::Tensor scores = at::zeros({texts_.features.size(0), images_.features.size(0)}, at::kDouble);
  for (int64_t q = 0; q < scores.size(0); ++q) {
    const at::Tensor text = texts_.features[q];
    const std::vector<Hit> hits = index.search_mixed(text, gallery.query(text), scores.size(1));
    ASSERT_EQ(static_cast<int64_t>(hits.size()), scores.size(1));
    for (size_t i = 0; i < hits.size(); ++i) scores[q][hits[i].item] = -static_cast<double>(i);
  }
  const RetrievalMetrics whole = refined_alone(basis_, one, texts_, images_).text_to_image;
  expect_near(figures_of(scores, texts_, images_), whole);
}

INSTANTIATE_TEST_SUITE_P(
    All, RefinementCases,
    testing::Values(Case{RefinementConfig::IDENTITY, false, 0.7, 40}, Case{RefinementConfig::IDENTITY, true, 0.5, 1100},
                    Case{RefinementConfig::CENTRE, false, 2, 40}, Case{RefinementConfig::CENTRE, true, 1, 40},
                    Case{RefinementConfig::CENTRE, true, 1, 7}, Case{RefinementConfig::SOFTMAX, false, 1, 40},
                    Case{RefinementConfig::SOFTMAX, true, 0.5, 33}, Case{RefinementConfig::CENTRE, true, 1, 40, 12},
                    Case{RefinementConfig::IDENTITY, false, 2, 40, 50},
                    Case{RefinementConfig::CENTRE, true, 2, 40, 100}, Case{RefinementConfig::SOFTMAX, true, 1, 40, 5}));

TEST(Refinement, WithoutBetaNothingChanges) {
  const EmbeddingRows texts = people(90, 31, 0.4F, 1), images = people(130, 30, -0.4F, 2);
  LocalCommunicator alone;
  const BothDirections plain = evaluate_retrieval(texts, images, alone);
  const BothDirections made = refined_alone(made_basis(40), {RefinementConfig::CENTRE, true, 0, 40}, texts, images);
  EXPECT_EQ(std::memcmp(&made, &plain, sizeof(made)), 0);
}

TEST(Refinement, TheControlCentresRawFeatures) {
  const EmbeddingRows texts = people(90, 31, 0.4F, 1), images = people(130, 30, -0.4F, 2);
  const ReferenceBasis basis = made_basis(40);
  const at::Tensor t = unit_double(unit_double(texts.features).sub(basis.mean_text.to(at::kDouble)));
  const at::Tensor g = unit_double(unit_double(images.features).sub(basis.mean_image.to(at::kDouble)));
  LocalCommunicator alone;
  const BothDirections made = evaluate_centred(basis, texts, images, alone);
  expect_near(made.text_to_image, figures_of(t.matmul(g.t()), texts, images));
  expect_near(made.image_to_text, figures_of(g.matmul(t.t()), images, texts));
}

TEST(Refinement, TheControlTakesClassMeansAsTheyAre) {
  const EmbeddingRows texts = people(90, 31, 0.4F, 1), images = people(130, 30, -0.4F, 2);
  const ReferenceBasis basis = made_basis(40);
  LocalCommunicator alone;
  const EmbeddingRows classes = identity_means(texts, alone);
  const at::Tensor t = means_of(unit_double(texts.features).sub(basis.mean_text.to(at::kDouble)), texts, classes);
  const at::Tensor g = unit_double(unit_double(images.features).sub(basis.mean_image.to(at::kDouble)));
  const BothDirections made = evaluate_centred(basis, classes, images, alone);
  expect_near(made.text_to_image, figures_of(t.matmul(g.t()), classes, images));
  expect_near(made.image_to_text, figures_of(g.matmul(t.t()), images, classes));
}

// The toy of mmref.md: references span what identities differ in, so that mapping leaves the nuisance behind.
TEST(Refinement, HelpsAgainstNuisanceAndValFindsTheBeta) {
  const EmbeddingRows texts = people(300, 60, 0, 3), images = people(300, 60, 0, 4);
  const ReferenceBasis basis = made_basis(200);
  LocalCommunicator alone;
  RefinementConfig config;
  const RefinementChoice choice = choose_refinement(basis, config, texts, images, alone);
  const double plain = evaluate_retrieval(texts, images, alone).text_to_image.r1;
  double best = 0;
  for (const RefinementConfig::Phi phi : {RefinementConfig::IDENTITY, RefinementConfig::CENTRE}) {
    for (const double beta : {0.1, 0.25, 0.5, 1.0, 2.0, 4.0}) {
      best = std::max(best, refined_alone(basis, {phi, true, beta, 0}, texts, images).text_to_image.r1);
    }
  }
  EXPECT_EQ(refined_alone(basis, {choice.phi, true, choice.beta, 0}, texts, images).text_to_image.r1, best);
  EXPECT_GT(best, plain + 5);
}

TEST(Refinement, ValChoosesAmongTheBestTooAndTheEarlierOneOfEquals) {
  const EmbeddingRows texts = people(300, 60, 0, 3), images = people(300, 60, 0, 4);
  const ReferenceBasis basis = made_basis(200);
  LocalCommunicator alone;
  RefinementConfig config;
  config.add_phi(RefinementConfig::CENTRE);
  config.add_beta(2);
  RefinementChoice choice;
  EXPECT_TRUE(only_choice(config, choice));
  EXPECT_EQ(choice.top_k, 0);
  config.add_top_k(30);
  EXPECT_TRUE(only_choice(config, choice));
  EXPECT_EQ(choice.top_k, 30);
  config.add_top_k(1);
  EXPECT_FALSE(only_choice(config, choice));
  const Refinement refinement(basis, config, RefinementConfig::CENTRE, texts, images, alone);
  ASSERT_GT(refinement.evaluate(2, 30, alone).text_to_image.r1, refinement.evaluate(2, 1, alone).text_to_image.r1);
  EXPECT_EQ(choose_refinement(basis, config, texts, images, alone).top_k, 30);
  config.clear_top_k();
  for (const int64_t top_k : {1, 300, 0}) config.add_top_k(top_k);  // both of the last: all
  EXPECT_EQ(choose_refinement(basis, config, texts, images, alone).top_k, 300);
  EXPECT_EQ(describe_refinement(config, {RefinementConfig::CENTRE, 0.5, 20}),
            "phi CENTRE, beta 0.5, the 20 best of each query, z-scores");
  EXPECT_EQ(describe_refinement(config, {RefinementConfig::CENTRE, 0.5, 0}), "phi CENTRE, beta 0.5, z-scores");
}

TEST(ReferenceBasis, IsReadAsItWasWritten) {
  const TemporaryFolder folder;
  const ReferenceBasis basis = made_basis(9);
  const std::string path = folder / "references.safetensors";
  write_safetensors(path, {{"rows", basis.rows.mul(3)},
                           {"identity", at::zeros({9}, at::kLong)},
                           {"mean.image", basis.mean_image},
                           {"mean.text", basis.mean_text}});
  const ReferenceBasis read = read_reference_basis(path);
  EXPECT_TRUE(read.rows.allclose(basis.rows, 1e-6, 1e-7));  // of length 1 again
  EXPECT_TRUE(read.mean_image.equal(basis.mean_image));
  EXPECT_TRUE(read.mean_text.equal(basis.mean_text));
}

TEST(ReferenceBasis, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const ReferenceBasis basis = made_basis(9);
  const std::string path = folder / "references.safetensors";
  const auto expect_error = [&](const NamedTensors& tensors, const std::string& text) {
    write_safetensors(path, tensors);
    try {
      read_reference_basis(path);
      ADD_FAILURE() << "accepted; expected: " << text;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(text));
      EXPECT_THAT(error.what(), testing::HasSubstr(path));
    }
  };
  expect_error({{"rows", basis.rows}, {"mean.image", basis.mean_image}}, "mean.text");
  expect_error({{"rows", basis.rows}, {"mean.image", basis.mean_image}, {"mean.text", at::zeros({5})}},
               "a mean of width 5 with references of width 24");
  expect_error({{"rows", basis.rows.to(at::kDouble)}, {"mean.image", basis.mean_image}, {"mean.text", basis.mean_text}},
               "'rows' must be float32");
  expect_error({{"rows", basis.rows.mul(NAN)}, {"mean.image", basis.mean_image}, {"mean.text", basis.mean_text}},
               "'rows' holds NaN");
}

TEST(Refinement, OtherWidthsAreRefused) {
  const EmbeddingRows rows = normal_rows(4, kWidth + 1, 2, 1);
  LocalCommunicator alone;
  EXPECT_THROW(Refinement(made_basis(9), {}, RefinementConfig::CENTRE, rows, rows, alone), ConfigError);
  EXPECT_THROW(evaluate_centred(made_basis(9), rows, rows, alone), ConfigError);
  SearchIndex index(4, kWidth + 1, Storage::kFloat32);
  index.add(rows.features);
  EXPECT_THROW(RefinedGallery(made_basis(9), {}, {}, rows.features, index), ConfigError);
}

}  // namespace
}  // namespace muster
