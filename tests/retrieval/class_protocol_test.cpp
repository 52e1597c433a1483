// The class-level protocol against brute force in double, written from Reed et al.'s scripts.
#include <gtest/gtest.h>

#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/local_communicator.h"
#include "comm/thread_communicator.h"
#include "dataloader/formats/safetensors.h"
#include "launch/error.h"
#include "tests/retrieval/made_embeddings.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"
#include "trainer/retrieval/identity_means.h"
#include "trainer/retrieval/retrieval.h"

namespace muster {
namespace {

constexpr int64_t kClasses = 23;

// Classes lie apart, so that figures are neither 0 nor 100.
EmbeddingRows of_classes(int64_t rows, uint32_t seed) {
  EmbeddingRows made = normal_rows(rows, 24, kClasses, seed);
  const EmbeddingRows centres = normal_rows(kClasses, 24, 1, 99);
  for (int64_t r = 0; r < rows; ++r) {
    made.features[r].add_(centres.features[made.identity[r].item<int64_t>()], 0.4);
  }
  return made;
}

BothDirections evaluate_classes(const EmbeddingRows& captions, const EmbeddingRows& images,
                                Communicator& communicator) {
  return evaluate_retrieval(identity_means(captions, communicator), images, communicator);
}

// Without the rows of one identity.
EmbeddingRows without(const EmbeddingRows& rows, int64_t identity) {
  const at::Tensor kept = rows.identity.ne(identity).nonzero().flatten();
  return {rows.features.index_select(0, kept), rows.identity.index_select(0, kept)};
}

struct Truth {
  double ap50 = 0;  // percent
  double r1 = 0;
  int64_t classes = 0, images = 0;  // that are queries
};

// From captions and images; a class that lacks either is no query.
Truth brute_force(const EmbeddingRows& captions, const EmbeddingRows& images) {
  const auto unit = [](const at::Tensor& rows) {
    const at::Tensor wide = rows.to(at::kDouble);
    return wide.div(wide.norm(2, 1, true));
  };
  const auto has = [](const EmbeddingRows& rows, int64_t c) { return rows.identity.eq(c).any().item<bool>(); };
  std::vector<at::Tensor> means;
  std::vector<int64_t> classes;
  for (int64_t c = 0; c < kClasses; ++c) {
    if (!has(captions, c)) continue;
    classes.push_back(c);
    means.push_back(unit(captions.features).index_select(0, captions.identity.eq(c).nonzero().flatten()).mean(0, true));
  }
  const at::Tensor scores = at::cat(means).matmul(unit(images.features).t());  // [classes, images]
  const int64_t k = std::min<int64_t>(50, images.identity.size(0));
  Truth truth;
  for (size_t c = 0; c < classes.size(); ++c) {
    if (!has(images, classes[c])) continue;
    const at::Tensor best = scores[static_cast<int64_t>(c)].argsort(true, 0, true).narrow(0, 0, k);
    truth.ap50 += 100 * images.identity.index_select(0, best).eq(classes[c]).to(at::kDouble).mean().item<double>();
    ++truth.classes;
  }
  truth.ap50 /= static_cast<double>(truth.classes);
  for (int64_t g = 0; g < images.identity.size(0); ++g) {
    const auto identity = images.identity[g].item<int64_t>();
    if (!has(captions, identity)) continue;
    const int64_t best = scores.select(1, g).argsort(true, 0, true)[0].item<int64_t>();
    truth.r1 += classes[static_cast<size_t>(best)] == identity ? 100 : 0;
    ++truth.images;
  }
  truth.r1 /= static_cast<double>(truth.images);
  return truth;
}

void expect_truth(const EmbeddingRows& captions, const EmbeddingRows& images) {
  LocalCommunicator alone;
  const BothDirections made = evaluate_classes(captions, images, alone);
  const Truth truth = brute_force(captions, images);
  EXPECT_NEAR(made.text_to_image.ap50, truth.ap50, 1e-9);
  EXPECT_NEAR(made.image_to_text.r1, truth.r1, 1e-9);
  EXPECT_EQ(made.text_to_image.queries, truth.classes);
  EXPECT_EQ(made.image_to_text.queries, truth.images);
  EXPECT_EQ(made.text_to_image.gallery, images.identity.size(0));
  EXPECT_EQ(made.image_to_text.skipped, images.identity.size(0) - truth.images);
  EXPECT_EQ(made.image_to_text.gallery, truth.classes + made.text_to_image.skipped);
  EXPECT_TRUE(truth.r1 > 1 && truth.r1 < 95 && truth.ap50 > 1 && truth.ap50 < 95) << truth.r1 << " " << truth.ap50;
}

// Fewer than 50 images, and classes without any among them; 50; more.
TEST(ClassProtocol, EqualsBruteForce) {
  for (const int64_t count : {12, 49, 50, 51, 1300}) expect_truth(of_classes(1900, 1), of_classes(count, 2));
}

TEST(ClassProtocol, AClassWithoutCaptionsOrImagesIsNoQuery) {
  const EmbeddingRows captions = without(of_classes(900, 1), 5), images = without(of_classes(400, 2), 7);
  expect_truth(captions, images);
  LocalCommunicator alone;
  const BothDirections made = evaluate_classes(captions, images, alone);
  EXPECT_EQ(made.text_to_image.queries, kClasses - 2);
  EXPECT_EQ(made.text_to_image.skipped, 1);
  EXPECT_EQ(made.image_to_text.gallery, kClasses - 1);
  EXPECT_GT(made.image_to_text.skipped, 5);
}

// Four captions a class, so that means and scores are exact and many are equal.
TEST(ClassProtocol, AmongEqualsTheLowerComesFirst) {
  EmbeddingRows captions = exact_rows(4 * kClasses, 16, 1, 7);
  for (int64_t r = 0; r < 4 * kClasses; ++r) captions.identity.mutable_data_ptr<int64_t>()[r] = r % kClasses;
  for (const uint32_t seed : {8, 9, 10}) expect_truth(captions, exact_rows(500, 16, kClasses, seed));
}

// The length of a mean counts where images choose among classes: it is no cosine.
TEST(ClassProtocol, AMeanIsTakenAsItIs) {
  EmbeddingRows captions = normal_rows(4, 16, 1, 1), images = normal_rows(1, 16, 1, 1);
  captions.features.zero_();
  images.features.zero_();
  auto* rows = captions.features.mutable_data_ptr<float>();
  const float root = std::sqrt(0.19F);
  rows[0] = 0.9F, rows[1] = root;  // class 0: mean (0.9, 0)
  rows[16] = 0.9F, rows[17] = -root;
  rows[32] = rows[48] = 0.95F;  // class 1: both (0.95, .31)
  rows[34] = rows[50] = std::sqrt(1 - 0.95F * 0.95F);
  for (int64_t r = 0; r < 4; ++r) captions.identity.mutable_data_ptr<int64_t>()[r] = r / 2;
  images.features.mutable_data_ptr<float>()[0] = 7;
  images.identity.mutable_data_ptr<int64_t>()[0] = 1;
  LocalCommunicator alone;
  EXPECT_EQ(evaluate_classes(captions, images, alone).image_to_text.r1, 100);
  EmbeddingRows directions = identity_means(captions, alone);
  directions.as_they_are = false;
  EXPECT_EQ(evaluate_retrieval(directions, images, alone).image_to_text.r1, 0);
}

TEST(ClassProtocol, HasTheBitsOfOneProcess) {
  const EmbeddingRows captions = of_classes(1100, 3), images = of_classes(300, 4);
  LocalCommunicator one;
  const BothDirections alone = evaluate_classes(captions, images, one);
  for (const auto& [of_captions, of_images] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{550, 550}, {150, 150}}, {{0, 1100, 0}, {7, 0, 293}}, {{300, 1, 0, 799}, {300, 0, 0, 0}}}) {
    run_ranks(static_cast<int>(of_captions.size()), [&, &texts = of_captions,
                                                     &pictures = of_images](Communicator& communicator) {
      const BothDirections made = evaluate_classes(share(captions, texts, communicator.rank()),
                                                   share(images, pictures, communicator.rank()), communicator);
      if (std::memcmp(&made, &alone, sizeof(made)) != 0) throw std::runtime_error("other figures than one process's");
    });
  }
}

// Captions of one class on all ranks, and ranks without a class.
TEST(ClassProtocol, MoreRanksThanClasses) {
  EmbeddingRows captions = normal_rows(10, 24, 1, 1), images = normal_rows(9, 24, 3, 2);
  for (int64_t r = 0; r < 10; ++r) captions.identity.mutable_data_ptr<int64_t>()[r] = r % 3 * 10;
  images.identity.mul_(10);
  LocalCommunicator one;
  const EmbeddingRows whole = identity_means(captions, one);
  const BothDirections alone = evaluate_classes(captions, images, one);
  ASSERT_EQ(whole.identity.size(0), 3);
  run_ranks(5, [&](Communicator& communicator) {
    const EmbeddingRows mine = share(captions, {2, 2, 2, 2, 2}, communicator.rank());
    const EmbeddingRows means = identity_means(mine, communicator);
    const EmbeddingRows expected = share(whole, {1, 1, 1, 0, 0}, communicator.rank());
    if (!means.features.equal(expected.features) || !means.identity.equal(expected.identity) || !means.as_they_are) {
      throw std::runtime_error("other means than one process's");
    }
    const BothDirections made =
        evaluate_classes(mine, share(images, {0, 0, 0, 0, 9}, communicator.rank()), communicator);
    if (std::memcmp(&made, &alone, sizeof(made)) != 0) throw std::runtime_error("other figures than one process's");
  });
}

TEST(ClassProtocol, EveryRankRefusesRowsThatAreNotFinite) {
  const EmbeddingRows captions = of_classes(40, 1);
  captions.features[3][4] = NAN;
  run_ranks(2, [&](Communicator& communicator) {
    EXPECT_THROW(identity_means(share(captions, {20, 20}, communicator.rank()), communicator), NonFiniteError);
  });
}

// retrieval_sje_tcnn.lua and classify_sje_tcnn.lua (github.com/reedscot/cvpr2016) in NumPy, on unit embeddings.
constexpr const char* kReed = R"(
import json, sys
import numpy as np
from safetensors.numpy import load_file
t = load_file(sys.argv[1])
txt, img = (t[k].astype(np.float64) for k in ('captions', 'images'))
txt /= np.linalg.norm(txt, axis=1, keepdims=True)
img /= np.linalg.norm(img, axis=1, keepdims=True)
classes = sorted(set(t['caption_class']))
fea_txt = [txt[t['caption_class'] == c].mean(0) for c in classes]
matches = []
for c, f in zip(classes, fea_txt):
    order = np.argsort(-np.array([np.dot(i, f) for i in img]), kind='stable')
    matches.append(t['image_class'][order] == c)
ap50 = np.mean([m[:50] for m in matches])
acc = np.mean([classes[int(np.argmax([np.dot(i, f) for f in fea_txt]))] == c for i, c in zip(img, t['image_class'])])
json.dump({'ap50': 100 * ap50, 'r1': 100 * acc}, open(sys.argv[2], 'w'))
)";

TEST(ClassProtocol, EqualsReedsScriptsInNumpy) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  const EmbeddingRows captions = of_classes(700, 5), images = of_classes(400, 6);
  write_safetensors(folder / "rows.safetensors", {{"captions", captions.features},
                                                  {"caption_class", captions.identity},
                                                  {"images", images.features},
                                                  {"image_class", images.identity}});
  run_reference_python(kReed, {folder / "rows.safetensors", folder / "figures.json"});
  std::ifstream file(folder / "figures.json");
  const nlohmann::json reed = nlohmann::json::parse(file);
  LocalCommunicator alone;
  const BothDirections made = evaluate_classes(captions, images, alone);
  EXPECT_NEAR(made.text_to_image.ap50, reed["ap50"], 1e-9);
  EXPECT_NEAR(made.image_to_text.r1, reed["r1"], 1e-9);
}

TEST(ClassProtocol, TheTableSaysItsFigures) {
  RetrievalMetrics classes{60, 80, 90, 40, 10, 50, 2933, 0, 45.52}, images{54.69, 70, 80, 60, 60, 2933, 50, 0};
  EXPECT_EQ(format_class_table(classes, images),
            "%                 R@1     R@5    R@10     mAP    mINP   AP@50   queries   gallery\n"
            "text to image   60.00   80.00   90.00   40.00   10.00   45.52        50      2933\n"
            "image to text   54.69   70.00   80.00   60.00   60.00       -      2933        50\n");
  classes.gallery = 50;
  EXPECT_EQ(format_class_table(classes, images).find("AP@50 is over"), std::string::npos);
  classes.gallery = 37;
  classes.skipped = 2;
  images.skipped = 5;
  const std::string few = format_class_table(classes, images);
  EXPECT_NE(few.find("\nAP@50 is over all 37 images, there being fewer than 50\n"
                     "left out, having no positive in the gallery: 2 classes, 5 images\n"),
            std::string::npos)
      << few;
}

}  // namespace
}  // namespace muster
