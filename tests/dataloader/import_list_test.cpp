// The import itself: the same bytes whatever the threads, the ranks and the number of times it was killed.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

#include "dataloader/formats/hashes.h"
#include "dataloader/importers/import_state.h"
#include "dataloader/importers/importer.h"
#include "launch/error.h"
#include "tests/dataloader/import_fixture.h"

namespace muster {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kImages = 100;
constexpr int64_t kShardBytes = 4000;  // about a dozen shards

// Where the ranks of one import, as threads, exchange their lowest value.
class Meeting {
 public:
  explicit Meeting(int ranks) : ranks_(ranks) {}
  int64_t lowest(int64_t value) {
    std::unique_lock lock(mutex_);
    now_ = std::min(now_, value);
    const int64_t round = round_;
    if (++arrived_ == ranks_) {
      last_ = now_;
      now_ = std::numeric_limits<int64_t>::max();
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return round_ != round; });
    return last_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  const int ranks_;
  int arrived_ = 0;
  int64_t round_ = 0, now_ = std::numeric_limits<int64_t>::max(), last_ = 0;
};

class ImportListTest : public ImportTest {
 protected:
  ImportListTest() {
    for (int i = 0; i < kImages; ++i) write_image("set/" + std::to_string(i) + ".jpg", i);
  }

  ImportList list() const {
    ImportList list;
    list.source = "list";
    list.root = folder_ / "set";
    for (int i = 0; i < kImages; ++i) {
      ImportRow row;
      row.where = "list:" + std::to_string(i + 1);
      row.image = std::to_string(i) + ".jpg";
      row.identity = "person " + std::to_string(i * i % 37);
      for (int c = 0; c < i % 3; ++c) row.captions.push_back("caption " + std::to_string(c));
      row.split = static_cast<Split>(i * i % 37 % 3);
      list.rows.push_back(row);
    }
    return list;
  }

  static ImportOptions options(bool skip_bad = false) {
    ImportOptions options;
    options.threads = 2;
    options.skip_bad = skip_bad;
    options.shard_bytes = kShardBytes;
    options.block_rows = 8;
    return options;
  }

  // Every rank's message, empty if it had none.
  std::vector<std::string> run_ranks(int ranks, const ImportList& list, const std::string& out, bool skip_bad = false) {
    Meeting meeting(ranks);
    std::vector<std::string> messages(static_cast<size_t>(ranks));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        messages[static_cast<size_t>(rank)] = error_of([&] {
          import_list(list, out, options(skip_bad),
                      {{rank, ranks}, [&](int64_t value) { return meeting.lowest(value); }});
        });
      });
    }
    for (std::thread& thread : threads) thread.join();
    return messages;
  }

  // What StoreWriter makes of the rows, one after the other, without those numbered in `left_out`.
  void write_expected(const std::string& path, const std::vector<int>& left_out = {},
                      int64_t shard_bytes = kShardBytes) {
    StoreWriter writer(path, StoreWriter::Options{shard_bytes});
    const ImportList rows = list();
    for (int i = 0; i < kImages; ++i) {
      if (std::count(left_out.begin(), left_out.end(), i) > 0) continue;
      const ImportRow& row = rows.rows[static_cast<size_t>(i)];
      const std::vector<uint8_t> bytes = coloured_jpeg(i);
      writer.add({row.image, bytes, 12 + i % 5, 20, row.captions, row.identity, row.split});
    }
    writer.finish();
  }
};

// A warning is remembered with the row: an import that goes on knows it, and a strict one refuses what another took.
TEST_F(ImportListTest, AnImageThatItsDecoderWarnsOfIsCountedAndRefusedWhenStrict) {
  std::vector<uint8_t> bytes = coloured_jpeg(3);
  bytes.insert(bytes.end() - 2, 40, 'x');
  write_bytes(folder_ / "set/3.jpg", bytes);
  const ImportReport report = import(list());
  ASSERT_EQ(report.complaints.size(), 1U);
  EXPECT_THAT(report.complaints[0], AllOf(HasSubstr("list:4: 3.jpg: "), HasSubstr("extraneous bytes")));
  EXPECT_THAT(report.refused, IsEmpty());
  EXPECT_EQ(Store(folder_ / "out").images(), kImages);
  fs::remove_all(folder_ / "out");

  ImportOptions options;
  options.strict = true;
  EXPECT_THAT(message_of([&] { import_list(list(), folder_ / "out", options); }),
              AllOf(HasSubstr("list:4: 3.jpg: "), HasSubstr("replace the file or leave it out (--strict)")));

  // Rows that an import which was not strict had decoded before it was killed.
  options.skip_bad = true;
  fs::create_directory(folder_ / "out.partial");
  const ImportList rows = list();
  CheckedRows before;
  for (int i = 0; i < kImages; ++i) {
    const std::vector<uint8_t> image = read_bytes(folder_ / ("set/" + std::to_string(i) + ".jpg"));
    CheckedRow& row = *before.add_row();
    row.set_bytes(image.size());
    row.set_xxh3(xxh3_64(image.data(), image.size()));
    row.set_width(12 + i % 5);
    row.set_height(20);
    if (i == 3) row.set_warning("list:4: 3.jpg: extraneous bytes");
  }
  const CheckedBlocks blocks(folder_ / "out.partial", rows, options.block_rows);
  blocks.save(0, before);
  const ImportReport strict = import_list(list(), folder_ / "out", options);
  EXPECT_EQ(strict.rows_checked_before, 0);
  EXPECT_THAT(strict.refused, testing::ElementsAre(HasSubstr("3.jpg")));
  EXPECT_THAT(strict.complaints, IsEmpty());
  fs::remove_all(folder_ / "out");

  options.strict = false;
  fs::create_directory(folder_ / "out.partial");
  blocks.save(0, before);
  const ImportReport gone_on = import_list(list(), folder_ / "out", options);
  EXPECT_EQ(gone_on.rows_checked_before, kImages);
  EXPECT_THAT(gone_on.complaints, testing::ElementsAre("list:4: 3.jpg: extraneous bytes"));
}

TEST_F(ImportListTest, EqualsTheStoreWriterForAnyThreadsAndRanks) {
  write_expected(folder_ / "expected");
  const auto expected = folder_contents(folder_ / "expected");
  ASSERT_GT(expected.size(), 5U);
  for (const int threads : {1, 5}) {
    ImportOptions with = options();
    with.threads = threads;
    import_list(list(), folder_ / "out", with);
    EXPECT_EQ(folder_contents(folder_ / "out"), expected) << threads << " threads";
    fs::remove_all(folder_ / "out");
  }
  for (const int ranks : {1, 2, 3, 20}) {
    EXPECT_THAT(run_ranks(ranks, list(), folder_ / "out"), Each(IsEmpty()));
    EXPECT_EQ(folder_contents(folder_ / "out"), expected) << ranks << " ranks";
    EXPECT_FALSE(fs::exists(folder_ / "out.partial"));
    fs::remove_all(folder_ / "out");
  }
}

TEST_F(ImportListTest, RefusedRowsLeaveNoGapForAnyRanks) {
  write_expected(folder_ / "expected", {3, 50, 51, 99});
  for (const char* image : {"3", "50", "51", "99"}) write_text(folder_ / "set/" + image + ".jpg", "broken");
  for (const int ranks : {1, 3}) {
    EXPECT_THAT(run_ranks(ranks, list(), folder_ / "out", true), Each(IsEmpty()));
    EXPECT_EQ(folder_contents(folder_ / "out"), folder_contents(folder_ / "expected")) << ranks << " ranks";
    fs::remove_all(folder_ / "out");
  }
}

TEST_F(ImportListTest, EveryRankNamesTheFirstBadRowAndNothingIsLeft) {
  for (const char* image : {"30", "31", "60"}) fs::remove(folder_ / "set/" + image + ".jpg");
  for (const int ranks : {1, 2, 3, 7}) {
    EXPECT_THAT(run_ranks(ranks, list(), folder_ / "out"), Each(HasSubstr("list:31: image 30.jpg cannot be found")));
    EXPECT_FALSE(fs::exists(folder_ / "out") || fs::exists(folder_ / "out.partial")) << ranks;
  }
}

// A child is killed after each so many rows, and then between the shards; the last run must find the work of the
// others.
TEST_F(ImportListTest, KilledAtManyPlacesAndRunAgainGivesTheSameBytes) {
  write_expected(folder_ / "expected");
  const auto run_and_die = [&](double at_fraction) {
    const pid_t child = fork();
    if (child == 0) {
      ImportOptions dying = options();
      dying.progress = [&](double fraction, int64_t) {
        if (fraction >= at_fraction) kill(getpid(), SIGKILL);
      };
      import_list(list(), folder_ / "out", dying);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
  };
  for (const double fraction : {0.05, 0.3, 0.5, 0.84, 0.88, 0.95}) {
    ASSERT_TRUE(run_and_die(fraction)) << fraction;
    EXPECT_FALSE(fs::exists(folder_ / "out"));
    EXPECT_TRUE(fs::exists(folder_ / "out.partial"));
  }
  const fs::file_time_type first_shard = fs::last_write_time(folder_ / "out.partial/shard-00000.h5");
  const ImportReport report = import_list(list(), folder_ / "out", options());
  EXPECT_EQ(report.rows_checked_before, kImages);
  EXPECT_EQ(folder_contents(folder_ / "out"), folder_contents(folder_ / "expected"));
  EXPECT_EQ(fs::last_write_time(folder_ / "out/shard-00000.h5"), first_shard);
}

TEST_F(ImportListTest, WhatAnotherImportLeftIsNotTaken) {
  write_expected(folder_ / "expected");
  const auto leave = [&](const ImportList& other) {
    const pid_t child = fork();
    if (child == 0) {
      ImportOptions dying = options();
      dying.progress = [&](double fraction, int64_t) {
        if (fraction > 0.97) kill(getpid(), SIGKILL);
      };
      import_list(other, folder_ / "out", dying);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
  };
  ImportList other = list();
  std::reverse(other.rows.begin(), other.rows.end());
  leave(other);
  EXPECT_EQ(import_list(list(), folder_ / "out", options()).rows_checked_before, 0);
  EXPECT_EQ(folder_contents(folder_ / "out"), folder_contents(folder_ / "expected"));
  fs::remove_all(folder_ / "out");

  // Other captions: the images need no decoding, the shards are written anew.
  other = list();
  for (ImportRow& row : other.rows) row.captions = {"other"};
  leave(other);
  EXPECT_EQ(import_list(list(), folder_ / "out", options()).rows_checked_before, kImages);
  EXPECT_EQ(folder_contents(folder_ / "out"), folder_contents(folder_ / "expected"));
  fs::remove_all(folder_ / "out");

  // Damage in what was left.
  leave(list());
  for (const auto& entry : fs::directory_iterator(folder_ / "out.partial")) {
    const std::string path = entry.path().string();
    replace_byte(path, fs::file_size(path) / 3, 0xa5);
  }
  import_list(list(), folder_ / "out", options());
  Store(folder_ / "out").verify();
  EXPECT_EQ(folder_contents(folder_ / "out"), folder_contents(folder_ / "expected"));
}

TEST_F(ImportListTest, AnImageThatChangesMeanwhileIsNoticed) {
  ImportOptions changing = options();
  changing.progress = [&](double fraction, int64_t) {
    if (fraction > 0.8) write_bytes(folder_ / "set/40.jpg", coloured_jpeg(41));
  };
  EXPECT_THAT(message_of([&] { import_list(list(), folder_ / "out", changing); }),
              HasSubstr("list:41: image 40.jpg changed while it was imported"));
}

TEST_F(ImportListTest, AnImageOfTheSameLengthThatChangesMeanwhileIsNoticed) {
  std::vector<uint8_t> bytes = coloured_jpeg(40);
  bytes[bytes.size() / 2] ^= 1;
  ImportOptions changing = options();
  changing.progress = [&](double fraction, int64_t) {
    if (fraction > 0.8) write_bytes(folder_ / "set/40.jpg", bytes);
  };
  EXPECT_THAT(message_of([&] { import_list(list(), folder_ / "out", changing); }),
              HasSubstr("list:41: image 40.jpg changed while it was imported"));
}

// As the store writer has it: a shard is full when it is beyond its size.
TEST_F(ImportListTest, AShardOfJustItsSizeTakesAnotherImage) {
  ImportOptions full = options();
  full.shard_bytes = 0;
  for (const int i : {0, 1, 2}) full.shard_bytes += static_cast<int64_t>(coloured_jpeg(i).size());
  write_expected(folder_ / "expected", {}, full.shard_bytes);
  import_list(list(), folder_ / "out", full);
  EXPECT_EQ(folder_contents(folder_ / "out"), folder_contents(folder_ / "expected"));
}

// A file without data on the disk.
TEST_F(ImportListTest, AnImageTooLargeIsRefusedUnread) {
  fs::resize_file(folder_ / "set/40.jpg", (uintmax_t{1} << 28) + 1);
  EXPECT_THAT(message_of([&] { import_list(list(), folder_ / "out", options()); }),
              HasSubstr("list:41: 40.jpg has 268435457 bytes; images may have 268435456"));
}

TEST_F(ImportListTest, HeldOutIdentitiesDependOnSeedAndNamesAlone) {
  ImportList original = list();
  for (ImportRow& row : original.rows) {
    if (row.split == Split::kVal) row.split = Split::kTrain;
  }
  const auto held_out = [](const ImportList& rows) {
    std::set<std::string> names;
    for (const ImportRow& row : rows.rows) {
      if (row.split == Split::kVal) names.insert(row.identity);
    }
    return names;
  };
  ImportList one = original, again = original, other_seed = original, shuffled = original, smaller = original;
  hold_out_identities(one, 4, 1);
  EXPECT_EQ(held_out(one).size(), 4U);
  for (size_t i = 0; i < one.rows.size(); ++i) {
    const bool out = held_out(one).count(one.rows[i].identity) > 0;
    EXPECT_EQ(one.rows[i].split, out ? Split::kVal : original.rows[i].split);
    if (out) {
      EXPECT_EQ(original.rows[i].split, Split::kTrain);
    }
  }
  std::reverse(shuffled.rows.begin(), shuffled.rows.end());
  hold_out_identities(again, 4, 1);
  hold_out_identities(shuffled, 4, 1);
  hold_out_identities(other_seed, 4, 2);
  hold_out_identities(smaller, 3, 1);
  EXPECT_EQ(held_out(again), held_out(one));
  EXPECT_EQ(held_out(shuffled), held_out(one));
  EXPECT_NE(held_out(other_seed), held_out(one));
  EXPECT_TRUE(testing::Value(held_out(one), testing::IsSupersetOf(held_out(smaller))));
  EXPECT_THROW(hold_out_identities(one, 2, 1), ConfigError);  // it has a val split now
  EXPECT_THROW(hold_out_identities(original, 1000, 1), ConfigError);
}

}  // namespace
}  // namespace muster
