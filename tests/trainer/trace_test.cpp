// --trace: what is in the files, read back as a viewer would, and that recording changes nothing.
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_store.h"
#include "tests/trainer/tiny_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "comm/thread_communicator.h"
#include "launch/error.h"
#include "trainer/step_trace.h"

namespace muster {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kRanks = 2;

std::string trace_path(const std::string& run_dir, int rank) {
  return run_dir + "/trace.rank" + std::to_string(rank) + ".json";
}

json read_trace(const std::string& run_dir, int rank) {
  return json::parse(bytes_of(trace_path(run_dir, rank)));  // throws where it is no JSON
}

struct Span {
  std::string name;
  double begin = 0;
  double end = 0;
  json number;
};

// A trace by its threads, in the order of their begins; checks what every event must have.
class Trace {
 public:
  explicit Trace(const json& trace, int rank) {
    std::map<int, std::string> names;
    for (const json& event : trace.at("traceEvents")) {
      EXPECT_EQ(event.at("pid"), rank);
      const std::string kind = event.at("ph");
      if (kind == "M" && event.at("name") == "thread_name") names[event.at("tid")] = event.at("args").at("name");
      if (kind == "M") continue;
      const std::string thread = names.at(event.at("tid"));  // named before it is used
      const double begin = event.at("ts");
      const json number = event.value("args", json());
      if (kind == "X")
        threads[thread].push_back({event.at("name"), begin, begin + event.at("dur").get<double>(), number});
      if (kind == "b") started[event.at("id")] = {event.at("name"), begin, begin, number};
      if (kind == "e") started.at(event.at("id")).end = begin;
    }
    for (auto& [thread, spans] : threads) {
      std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
        return a.begin < b.begin || (a.begin == b.begin && a.end > b.end);
      });
    }
  }

  // The spans directly inside [begin, end] of a thread; checks on the way that all nest.
  std::vector<Span> inside(const std::string& thread, double begin, double end) const {
    std::vector<Span> found;
    for (const Span& span : threads.at(thread)) {
      if (span.begin < begin || span.end > end || (span.begin == begin && span.end == end)) continue;
      if (!found.empty() && span.begin < found.back().end) {
        EXPECT_LE(span.end, found.back().end) << span.name << " and " << found.back().name << " overlap";
        continue;
      }
      found.push_back(span);
    }
    return found;
  }

  std::map<std::string, std::vector<Span>> threads;
  std::map<int64_t, Span> started;  // collectives
};

std::vector<std::string> names_of(const std::vector<Span>& spans) {
  std::vector<std::string> names;
  for (const Span& span : spans) names.push_back(span.name);
  return names;
}

class TraceTest : public testing::Test {
 protected:
  void SetUp() override { write_tiny_store(folder_ / "store", kIdentities); }

  // Steps 9 to 12 of 24: an evaluation after step 10, a checkpoint after step 10 if it is the best yet, one after 12.
  void train(const std::string& run, StepWindow window, int64_t stop_after = kSteps) {
    const Store store(folder_ / "store");
    run_ranks(kRanks, [&](Communicator& communicator) {
      TraceRecorder recorder;
      communicator.record_to(&recorder);
      RunSettings settings = tiny_settings();
      settings.train.mutable_checkpoint()->set_every(12);
      const TraceRequest request{window.first > 0 ? &recorder : nullptr, window};
      Trainer trainer(settings, "test", store, folder_ / run, communicator, nullptr, request);
      trainer.run(stop_after);
      communicator.record_to(nullptr);
    });
  }

  TemporaryFolder folder_;
};

TEST_F(TraceTest, HoldsTheStepsOfTheWindowOnEveryRank) {
  train("run", {9, 12});
  for (int rank = 0; rank < kRanks; ++rank) {
    const Trace trace(read_trace(folder_ / "run", rank), rank);
    const std::vector<Span> steps = trace.inside("training", -1e300, 1e300);
    // The last checkpoint is waited for, so that it is in the file.
    ASSERT_THAT(names_of(steps), ElementsAre("step", "step", "step", "step", "checkpoint"));
    for (int64_t i = 0; i < 4; ++i) {
      const Span& step = steps[static_cast<size_t>(i)];
      EXPECT_EQ(step.number, json({{"step", 9 + i}}));
      EXPECT_GE(step.begin, 0);
      // Two chunks on each rank, of three rows and of one.
      std::vector<std::string> expected = {
          "data",           "forward texts", "forward texts", "send texts", "forward images",
          "forward images", "loss",          "forward",       "backward",   "forward",
          "backward",       "reduce",        "norm",          "optimizer",  "log"};
      if (9 + i == 10) expected.push_back("evaluation");
      expected.push_back("agree on stop");
      if (9 + i == 10 || 9 + i == 12) expected.push_back("checkpoint");  // the first evaluation is the best so far
      EXPECT_EQ(names_of(trace.inside("training", step.begin, step.end)), expected);
    }
    const std::vector<Span> first = trace.inside("training", steps[0].begin, steps[0].end);
    const auto loss = names_of(trace.inside("training", first[6].begin, first[6].end));
    EXPECT_EQ(std::count(loss.begin(), loss.end(), "gather"), 3);  // captions' rows, identities, cosines of pairs
    for (const size_t texts : {1U, 4U}) {
      EXPECT_EQ(first[texts].number, json({{"rows", 3}}));
      EXPECT_EQ(first[texts + 1].number, json({{"rows", 1}}));
    }
  }
}

TEST_F(TraceTest, HoldsWhatOtherThreadsDo) {
  train("run", {9, 12});
  const Trace first(read_trace(folder_ / "run", 0), 0);
  const Trace second(read_trace(folder_ / "run", 1), 1);
  std::vector<Span> written = first.threads.at("checkpoint writer");
  EXPECT_EQ(names_of(written), std::vector<std::string>(2, "checkpoint"));
  EXPECT_EQ(written[0].number, json({{"step", 10}}));
  EXPECT_EQ(written[1].number, json({{"step", 12}}));
  EXPECT_EQ(second.threads.count("checkpoint writer"), 0U);
  std::map<int64_t, int> samples;
  for (const Span& span : first.threads.at("loader 0")) {
    EXPECT_EQ(span.name, "sample");
    ++samples[span.number.at("step")];
  }
  EXPECT_EQ(samples.at(15), 4);  // half of a batch; decoded within the window, as at most four batches are ahead
}

TEST_F(TraceTest, HoldsTheCollectivesWithTheirBytes) {
  train("run", {9, 10});
  std::vector<std::map<std::string, std::set<int64_t>>> bytes(kRanks);
  for (int rank = 0; rank < kRanks; ++rank) {
    const Trace trace(read_trace(folder_ / "run", rank), rank);
    for (const auto& [id, span] : trace.started) {
      EXPECT_GE(span.end, span.begin) << span.name;
      bytes[static_cast<size_t>(rank)][span.name].insert(span.number.at("bytes").get<int64_t>());
    }
  }
  EXPECT_EQ(bytes[0], bytes[1]);  // the ranks' slices are equally large
  EXPECT_THAT(bytes[0].at("loss.text"), ElementsAre(4 * 16 * 4));
  EXPECT_THAT(bytes[0].at("loss.identity"), ElementsAre(4 * 8));
  EXPECT_THAT(bytes[0].at("checkpoint copied"), ElementsAre(0));
  int64_t gradient_bytes = 0;
  for (const auto& [name, sizes] : bytes[0]) {
    for (const int64_t size : sizes) gradient_bytes += name.rfind("gradients ", 0) == 0 ? size : 0;
  }
  const auto model_bytes =
      static_cast<double>(std::filesystem::file_size(final_checkpoint(folder_ / "run") + "model.safetensors"));
  EXPECT_NEAR(static_cast<double>(gradient_bytes), model_bytes, 0.05 * model_bytes);  // a header, gaps between views
}

// Captions are on their way while images are encoded.
TEST_F(TraceTest, TextsTravelBeforeImagesAreEncoded) {
  train("run", {9, 9});
  for (int rank = 0; rank < kRanks; ++rank) {
    const Trace trace(read_trace(folder_ / "run", rank), rank);
    double images_begin = 1e300;
    for (const Span& span : trace.threads.at("training")) {
      if (span.name == "forward images") images_begin = std::min(images_begin, span.begin);
    }
    int found = 0;
    for (const auto& [id, span] : trace.started) {
      if (span.name != "loss.text" && span.name != "loss.identity") continue;
      ++found;
      EXPECT_LE(span.begin, images_begin) << span.name;
    }
    EXPECT_EQ(found, 2);
  }
}

TEST_F(TraceTest, SumsOfGradientsBeginDuringBackward) {
  train("run", {9, 9});
  const Trace trace(read_trace(folder_ / "run", 0), 0);
  double backward_ends = 0, first_sum_begins = 1e300;
  for (const Span& span : trace.threads.at("training")) {
    if (span.name == "backward") backward_ends = span.end;
  }
  for (const auto& [id, span] : trace.started) {
    if (span.name == "gradients 0") first_sum_begins = span.begin;
  }
  EXPECT_LT(first_sum_begins, backward_ends);
}

TEST_F(TraceTest, ChangesNothing) {
  train("traced", {1, kSteps});
  train("plain", {});
  EXPECT_FALSE(std::filesystem::exists(trace_path(folder_ / "plain", 0)));
  EXPECT_EQ(curve_of(folder_ / "traced"), curve_of(folder_ / "plain"));
  EXPECT_EQ(bytes_of(final_checkpoint(folder_ / "traced") + "model.safetensors"),
            bytes_of(final_checkpoint(folder_ / "plain") + "model.safetensors"));
}

TEST_F(TraceTest, AStopInTheWindowLeavesWhatThereWas) {
  train("run", {3, 20}, 5);
  const Trace trace(read_trace(folder_ / "run", 1), 1);
  EXPECT_THAT(names_of(trace.inside("training", -1e300, 1e300)), ElementsAre("step", "step", "step", "checkpoint"));
}

TEST_F(TraceTest, RefusesAWindowTheRunWillNotSee) {
  const auto message = [&](StepWindow window) -> std::string {
    try {
      train("run", window, 6);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message({25, 30}), "--trace 25:30 holds no step of this run, which goes from step 1 to 24");
  EXPECT_EQ(message({}), "no error");
  EXPECT_EQ(message({2, 6}), "--trace 2:6 holds no step of this run, which goes from step 7 to 24");
}

TEST(StepWindowTest, Parses) {
  EXPECT_EQ(parse_step_window("20:24").first, 20);
  EXPECT_EQ(parse_step_window("20:24").last, 24);
  EXPECT_EQ(parse_step_window("7").last, 7);
  for (const char* text : {"", ":", "0:3", "-1:3", "3:", ":3", "1:2:3", "a:b", "5:4", "1 :2", "99999999999999999999"}) {
    EXPECT_THROW(parse_step_window(text), ConfigError) << text;
  }
}

TEST(TraceRecorderTest, RecordsOnlyWhileItIsStarted) {
  TraceRecorder recorder;
  { const TraceSpan none(nullptr, "none"); }
  { const TraceSpan early(&recorder, "early"); }
  recorder.start();
  auto open = std::make_unique<TraceSpan>(&recorder, "open", TraceNumber{"rows", 3});
  std::thread other([&] {
    recorder.name_thread("other");
    const TraceSpan span(&recorder, "elsewhere");
  });
  other.join();
  recorder.stop();
  open.reset();  // began in time
  { const TraceSpan late(&recorder, "late"); }
  const std::vector<TraceEvent> events = recorder.take();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].name, "elsewhere");
  EXPECT_EQ(recorder.threads()[static_cast<size_t>(events[0].thread)], "other");
  EXPECT_EQ(events[1].name, "open");
  EXPECT_STREQ(events[1].number.key, "rows");
  EXPECT_NE(events[1].thread, events[0].thread);
  EXPECT_LE(events[1].begin, events[0].begin);
  EXPECT_TRUE(recorder.take().empty());
}

}  // namespace
}  // namespace muster
