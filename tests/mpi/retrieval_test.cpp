// Retrieval over real ranks: the figures and hits of one process, bit for bit.
#include "trainer/retrieval/retrieval.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "comm/comm.pb.h"
#include "comm/local_communicator.h"
#include "comm/make_communicator.h"
#include "launch/error.h"
#include "tests/retrieval/made_embeddings.h"
#include "tests/support/test_process.h"

namespace muster {
namespace {

std::unique_ptr<Communicator> checked_communicator() {
  CommConfig config;
  config.set_checked(true);
  return make_communicator(test_process(), config);
}

// Rank 1, where there is one, has nothing; the last rank has most.
std::vector<int64_t> uneven(int64_t total, int size) {
  std::vector<int64_t> rows(static_cast<size_t>(size), total / 8);
  if (size > 1) rows[1] = 0;
  rows.back() = 0;
  int64_t others = 0;
  for (const int64_t count : rows) others += count;
  rows.back() = total - others;
  return rows;
}

TEST(RetrievalOverMpi, FiguresAndHitsHaveTheBitsOfOneProcess) {
  const std::unique_ptr<Communicator> communicator = checked_communicator();
  const int size = communicator->size();
  const int rank = communicator->rank();
  const EmbeddingRows queries = normal_rows(203, 40, 300, 1);
  const EmbeddingRows gallery = normal_rows(1500, 40, 290, 2);
  LocalCommunicator alone;
  const BothDirections figures = evaluate_retrieval(queries, gallery, alone);
  const TopK hits = top_k(queries, gallery, 5, alone);
  for (const bool even : {true, false}) {
    const std::vector<int64_t> query_rows = even ? split_rows(203, size) : uneven(203, size);
    const std::vector<int64_t> gallery_rows = even ? split_rows(1500, size) : uneven(1500, size);
    const EmbeddingRows my_queries = share(queries, query_rows, rank);
    const EmbeddingRows my_gallery = share(gallery, gallery_rows, rank);
    const BothDirections made = evaluate_retrieval(my_queries, my_gallery, *communicator);
    EXPECT_EQ(std::memcmp(&made, &figures, sizeof(made)), 0);
    const TopK mine = top_k(my_queries, my_gallery, 5, *communicator);
    const EmbeddingRows truth = share({hits.score, hits.index}, query_rows, rank);
    EXPECT_TRUE(mine.index.equal(truth.identity));
    EXPECT_TRUE(mine.score.equal(truth.features));
  }
}

TEST(RetrievalOverMpi, EveryRankHearsOfBadRows) {
  const std::unique_ptr<Communicator> communicator = checked_communicator();
  EmbeddingRows rows = exact_rows(4, 20, 2, 1);
  if (communicator->rank() == communicator->size() - 1) rows.features.fill_(NAN);
  EXPECT_THROW(evaluate_retrieval(rows, rows, *communicator), NonFiniteError);
}

}  // namespace
}  // namespace muster
