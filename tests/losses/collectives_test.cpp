// Every collective of evaluate() is needed: with any one of them made local, value or gradients are wrong. This is what
// says that the exactness tests would notice a lost exchange. The batch has exact ties: without them a hardest
// negative is on one rank only, and the minimum over indices changes nothing.
#include <gtest/gtest.h>

#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "tests/losses/loss_reference.h"

namespace muster {
namespace {

using namespace loss_test;

// Passes every call on, but the one with index `skip` has only its local effect.
class SkippingCommunicator final : public Communicator {
 public:
  SkippingCommunicator(Communicator& inner, int skip)
      : Communicator(inner.rank(), inner.size(), false), inner_(inner), skip_(skip) {}

  int calls() const { return calls_; }
  const std::string& skipped() const { return skipped_; }
  void poll() override { inner_.poll(); }
  [[noreturn]] void abort(int code, const std::string& reason) override {
    inner_.abort(code, reason);
    std::terminate();
  }
  void set_timeout(double seconds) override { inner_.set_timeout(seconds); }

 private:
  bool skips(const std::string& name) {
    if (calls_++ != skip_) return false;
    skipped_ = name;
    return true;
  }

  at::Tensor own(const at::Tensor& whole, const std::vector<int64_t>& rows) const {
    return whole.narrow(0, std::accumulate(rows.begin(), rows.begin() + rank(), int64_t{0}),
                        rows[static_cast<size_t>(rank())]);
  }

  Work do_all_reduce(const at::Tensor& tensor, ReduceOp op, const std::string& name) override {
    return skips(name) ? Work() : inner_.all_reduce(tensor, op, name);
  }
  Work do_all_gather(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                     const std::string& name) override {
    if (!skips(name)) return inner_.all_gather(output, input, rows, name);
    const at::Tensor mine = input.clone();
    output.zero_();
    own(output, rows).copy_(mine);
    return Work();
  }
  Work do_reduce_scatter(const at::Tensor& output, const at::Tensor& input, const std::vector<int64_t>& rows,
                         const std::string& name) override {
    if (!skips(name)) return inner_.reduce_scatter(output, input, rows, name);
    output.copy_(own(input, rows).clone());
    return Work();
  }
  Work do_broadcast(const at::Tensor& tensor, int root, const std::string& name) override {
    return skips(name) ? Work() : inner_.broadcast(tensor, root, name);
  }
  Work do_all_to_all(const at::Tensor&, const at::Tensor&, const std::vector<int64_t>&, const std::vector<int64_t>&,
                     const std::string& name) override {
    throw std::logic_error("all_to_all is not used by losses: " + name);
  }
  void do_barrier(const std::string& name) override { inner_.barrier(name); }

  Communicator& inner_;
  int skip_;
  int calls_ = 0;
  std::string skipped_;
};

struct Outcome {
  bool exact = true;
  int calls = 0;
  std::string skipped;
};

Outcome evaluate_without(int skip, const Objective& config, const Batch& batch, const Answer& expected, int ranks) {
  std::vector<Outcome> outcomes(static_cast<size_t>(ranks));
  try {
    run_ranks(ranks, [&](Communicator& communicator) {
      SkippingCommunicator skipping(communicator, skip);
      Outcome& outcome = outcomes[static_cast<size_t>(communicator.rank())];
      const std::vector<int64_t> rows = split_rows(batch.identity.size(0), ranks);
      try {
        const Errors errors =
            errors_on_rank(config, TileShape{4, 8, 3}, batch, expected, 2.0, rows, at::kDouble, skipping, communicator);
        outcome.exact = errors.value <= 1e-12 && errors.gradient <= 1e-12;
      } catch (const Error&) {
        outcome.exact = false;
      }
      outcome.calls = skipping.calls();
      outcome.skipped = skipping.skipped();
    });
  } catch (const Error&) {
    outcomes[0].exact = false;  // a rank that gave up early left the others waiting
  }
  Outcome all = outcomes[0];
  for (const Outcome& outcome : outcomes) all.exact = all.exact && outcome.exact;
  return all;
}

TEST(Collectives, AreAllNeeded) {
  const Objective config = parse_objective(objectives().back());
  const Batch batch = make_ties(21, 9, 3).weighted(4);
  const Answer expected = reference(config, batch, 2.0);
  for (const int ranks : {2, 3}) {
    const Outcome complete = evaluate_without(-1, config, batch, expected, ranks);
    EXPECT_TRUE(complete.exact);
    // Rows, identities, weights; texts, pair cosines, four statistics, values, two gradients and a term's own sums of
    // the first pair of features; the same without pair cosines and indices of the second.
    EXPECT_EQ(complete.calls, 3 + 10 + 8);
    for (int skip = 0; skip < complete.calls; ++skip) {
      const Outcome outcome = evaluate_without(skip, config, batch, expected, ranks);
      EXPECT_FALSE(outcome.exact) << "call " << skip << " '" << outcome.skipped << "' is not needed";
    }
  }
}

// Losses whose positives are pairs do not look at identities.
bool looks_at_identities(const std::string& text) {
  for (const char* other :
       {"PAIR", "info_nce {}", "info_nce { self_target", "siglip {}", "siglip { temperature: 1 }"}) {
    if (text.find(other) != std::string::npos) return false;
  }
  return true;
}

TEST(Collectives, AreAllNeededByEachLossAlone) {
  for (size_t i = 0; i + 2 < objectives().size(); ++i) {
    const std::string& text = objectives()[i];
    const Objective config = parse_objective(text);
    const Batch batch = make_ties(21, 9, 3).weighted(4);
    const Answer expected = reference(config, batch, 2.0);
    const Outcome complete = evaluate_without(-1, config, batch, expected, 2);
    EXPECT_TRUE(complete.exact) << text;
    for (int skip = 0; skip < complete.calls; ++skip) {
      const Outcome outcome = evaluate_without(skip, config, batch, expected, 2);
      if (outcome.skipped == "loss.identity" && !looks_at_identities(text)) continue;
      EXPECT_FALSE(outcome.exact) << text << ": call '" << outcome.skipped << "' is not needed";
    }
  }
}

}  // namespace
}  // namespace muster
