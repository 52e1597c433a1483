#include "dataloader/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "dataloader/formats/hashes.h"
#include "tests/dataloader/sample_store.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kSmallShard = 1000;

void expect_equal(const Store& store, const std::vector<StoreRecord>& records) {
  ASSERT_EQ(store.images(), static_cast<int64_t>(records.size()));
  std::map<std::string, int64_t> numbers;
  std::vector<int64_t> of_split[3];
  int64_t captions = 0;
  for (int64_t i = 0; i < store.images(); ++i) {
    const StoreRecord& record = records[static_cast<size_t>(i)];
    EXPECT_EQ(store.image_bytes(i), record.image);
    EXPECT_EQ(store.image_size(i), static_cast<int64_t>(record.image.size()));
    EXPECT_EQ(store.width(i), record.width);
    EXPECT_EQ(store.height(i), record.height);
    EXPECT_EQ(store.source_path(i), record.source_path);
    EXPECT_EQ(store.split(i), record.split);
    EXPECT_EQ(store.identity_name(store.identity(i)), record.identity);
    EXPECT_EQ(store.identity(i), numbers.emplace(record.identity, static_cast<int64_t>(numbers.size())).first->second);
    EXPECT_EQ(store.first_caption(i), captions);
    ASSERT_EQ(store.caption_count(i), static_cast<int64_t>(record.captions.size()));
    for (const std::string& caption : record.captions) EXPECT_EQ(store.caption(captions++), caption);
    of_split[static_cast<size_t>(record.split)].push_back(i);
  }
  for (int64_t i = 0; i < store.images(); ++i) {
    const ImageRegions& regions = records[static_cast<size_t>(i)].regions;
    ASSERT_EQ(store.region_count(i), regions.count());
    if (!store.has_regions()) continue;
    ImageRegions read{std::vector<uint16_t>(regions.features.size()), std::vector<float>(regions.boxes.size())};
    store.read_regions(i, read.features.data(), read.boxes.data());
    EXPECT_EQ(read.features, regions.features);
    EXPECT_EQ(read.boxes, regions.boxes);
  }
  EXPECT_EQ(store.captions(), captions);
  EXPECT_EQ(store.identities(), static_cast<int64_t>(numbers.size()));
  for (const Split split : {Split::kTrain, Split::kVal, Split::kTest}) {
    EXPECT_EQ(store.images_of(split), of_split[static_cast<size_t>(split)]);
  }
}

TEST(Store, GivesBackWhatWasWritten) {
  const TemporaryFolder folder;
  const auto records = sample_records(60);
  for (const int64_t shard_bytes : {int64_t{0}, kSmallShard, int64_t{1} << 30}) {
    const std::string path = folder / ("store" + std::to_string(shard_bytes));
    write_store(path, records, shard_bytes);
    const Store store(path);
    EXPECT_EQ(store.shards().size(), shard_bytes == 0 ? 60U : shard_bytes == kSmallShard ? 6U : 1U);
    expect_equal(store, records);
    store.verify();
  }
}

TEST(Store, GivesBackRegions) {
  const TemporaryFolder folder;
  const auto records = sample_region_records(30, 7);
  for (const int64_t shard_bytes : {int64_t{0}, kSmallShard, int64_t{1} << 30}) {
    const std::string path = folder / ("store" + std::to_string(shard_bytes));
    write_store(path, records, shard_bytes, 7);
    const Store store(path);
    EXPECT_EQ(store.shards().size() > 1, shard_bytes <= kSmallShard);
    EXPECT_TRUE(store.has_regions());
    EXPECT_EQ(store.region_width(), 7);
    EXPECT_EQ(store.region_extractor(), "an extractor");
    expect_equal(store, records);
    store.verify();
  }
}

TEST(Store, LargeRegionsLieOnPages) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_region_records(20, 2048), 1 << 30, 2048);
  const std::string manifest = read_text(folder / "s/manifest.textproto");
  const size_t at = manifest.find("begin: ", manifest.find("region_features"));
  EXPECT_EQ(std::stoul(manifest.substr(at + 7)) % 4096, 0U);
  expect_equal(Store(folder / "s"), sample_region_records(20, 2048));
}

TEST(Store, WithoutRegionsItHasNone) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(3), kSmallShard);
  EXPECT_THAT(read_text(folder / "s/manifest.textproto"),
              AllOf(HasSubstr("format_version: 1\n"), testing::Not(HasSubstr("regions"))));
  const Store store(folder / "s");
  EXPECT_FALSE(store.has_regions());
  EXPECT_EQ(store.region_width(), 0);
  EXPECT_EQ(store.region_count(2), 0);
  EXPECT_THROW(store.read_regions(0, nullptr, nullptr), std::logic_error);
}

// A writer's options and its records agree, or our own importer is wrong.
TEST(Store, RegionsAreAllOrNone) {
  const TemporaryFolder folder;
  const auto records = sample_region_records(2, 7);
  StoreWriter without(folder / "a");
  EXPECT_THROW(without.add(records[1]), std::logic_error);
  StoreWriter with(folder / "b", {1 << 20, 7, ""});
  EXPECT_THROW(with.add(sample_records(1)[0]), std::logic_error);
  StoreWriter other(folder / "c", {1 << 20, 8, ""});
  EXPECT_THROW(other.add(records[1]), std::logic_error);
}

TEST(Store, KeepsAnImageLargerThanAShard) {
  const TemporaryFolder folder;
  auto records = sample_records(3);
  records[1].image.assign(3 << 20, 0x5a);  // beyond the copy's buffer, and the last bytes count
  records[1].image.back() = 1;
  write_store(folder / "s", records, kSmallShard);
  expect_equal(Store(folder / "s"), records);
}

TEST(Store, SameInputGivesTheSameBytes) {
  const TemporaryFolder folder;
  write_store(folder / "a", sample_records(60), kSmallShard);
  write_store(folder / "b", sample_records(60), kSmallShard);
  EXPECT_EQ(folder_contents(folder / "a"), folder_contents(folder / "b"));
  EXPECT_EQ(Store(folder / "a").fingerprint(), Store(folder / "b").fingerprint());
  auto records = sample_records(60);
  records[59].image.back() ^= 1;
  write_store(folder / "c", records, kSmallShard);
  EXPECT_NE(Store(folder / "a").fingerprint(), Store(folder / "c").fingerprint());
}

TEST(Store, ThreadsReadAtOnce) {
  const TemporaryFolder folder;
  const auto records = sample_records(200);
  write_store(folder / "s", records, kSmallShard);
  const Store store(folder / "s");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const Store own(folder / "s");  // libhdf5 is entered by several threads too
      for (int i = 0; i < 2000; ++i) {
        const auto image = static_cast<size_t>((i * 37 + t * 11) % 200);
        const Store& used = i % 2 == 0 ? store : own;
        wrong += used.image_bytes(static_cast<int64_t>(image)) != records[image].image;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Store, NumbersBeyondTheTablesAreCaught) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(3), kSmallShard);
  const Store store(folder / "s");
  EXPECT_THROW(store.image_bytes(3), std::out_of_range);
  EXPECT_THROW(store.caption(-1), std::out_of_range);
  EXPECT_THROW(store.caption_count(3), std::out_of_range);
  EXPECT_THROW(store.identity_name(99), std::out_of_range);
}

// What a reader says of a store with a byte changed: an error, or the same data.
void expect_damage_found(const std::string& path, const std::vector<StoreRecord>& records, const std::string& what) {
  const std::string opened = error_of([&] {
    const Store store(path);
    const std::string verified = error_of([&] { store.verify(); });
    EXPECT_NE(verified, "") << what;
    for (int64_t i = 0; i < store.images(); ++i) {
      const StoreRecord& record = records[static_cast<size_t>(i)];
      error_of([&] { EXPECT_EQ(store.image_bytes(i), record.image) << what; });
      if (!store.has_regions()) continue;
      ImageRegions read{std::vector<uint16_t>(record.regions.features.size()),
                        std::vector<float>(record.regions.boxes.size())};
      ASSERT_EQ(store.region_count(i), record.regions.count()) << what;
      error_of([&] {
        store.read_regions(i, read.features.data(), read.boxes.data());
        EXPECT_TRUE(read.features == record.regions.features && read.boxes == record.regions.boxes) << what;
      });
    }
  });
  EXPECT_THAT(opened, testing::Not(HasSubstr("\n")));
}

// Exhaustive: no byte of a store can change unnoticed.
// A bit of every byte, one after another.
void expect_flips_found(const std::vector<StoreRecord>& records, int64_t region_width, uint32_t seed) {
  const TemporaryFolder folder;
  write_store(folder / "s", records, 1 << 20, region_width);
  std::mt19937 random(seed);
  for (const char* name : {"manifest.textproto", "shard-00000.h5"}) {
    const std::string path = folder / ("s/" + std::string(name));
    const std::vector<uint8_t> good = read_bytes(path);
    for (size_t at = 0; at < good.size(); ++at) {
      replace_byte(path, at, static_cast<uint8_t>(good[at] ^ (1U << random() % 8)));
      expect_damage_found(folder / "s", records, name + std::string(" byte ") + std::to_string(at));
      replace_byte(path, at, good[at]);
    }
  }
  expect_equal(Store(folder / "s"), records);
}

TEST(Store, EveryFlippedByteIsFound) {
  expect_flips_found(sample_records(6), 0, 1);
}
TEST(Store, EveryFlippedByteIsFoundWithRegions) {
  expect_flips_found(sample_region_records(4, 3, 2), 3, 2);
}

TEST(Store, EveryTruncationIsFound) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(6), 1 << 20);
  for (const char* name : {"manifest.textproto", "shard-00000.h5"}) {
    const std::string path = folder / ("s/" + std::string(name));
    const std::vector<uint8_t> good = read_bytes(path);
    for (size_t size = 0; size < good.size(); size += 1 + size / 60) {
      write_bytes(path, {good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)});
      EXPECT_THAT(error_of([&] { Store{folder / "s"}; }), HasSubstr(name)) << size;
    }
    std::vector<uint8_t> longer = good;
    longer.push_back(0);
    write_bytes(path, longer);
    EXPECT_THAT(error_of([&] { Store{folder / "s"}; }), HasSubstr(name));
    write_bytes(path, good);
  }
}

TEST(Store, MessagesSayWhatAndWhere) {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& name) { return error_of([&] { Store{folder / name}; }); };
  EXPECT_THAT(message("absent"), AllOf(HasSubstr("no store at"), HasSubstr("muster import")));
  std::filesystem::create_directory(folder / "stopped.partial");
  EXPECT_THAT(message("stopped"), AllOf(HasSubstr("stopped.partial"), HasSubstr("run the import again")));
  write_store(folder / "s", sample_records(60), kSmallShard);
  std::filesystem::rename(folder / "s/shard-00003.h5", folder / "away");
  EXPECT_THAT(message("s"), AllOf(HasSubstr("shard-00003.h5"), HasSubstr("No such file")));
}

TEST(Store, NewerFormatIsRefusedByName) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(6), kSmallShard);
  const std::string path = folder / "s/manifest.textproto";
  std::string text = read_text(path);
  const std::string version = "format_version: 1";
  text.replace(text.find(version), version.size(), "format_version: 3 compression { level: 3 }");
  write_text(path, with_right_hash(text));
  EXPECT_THAT(error_of([&] { Store{folder / "s"}; }),
              AllOf(HasSubstr("format 3"), HasSubstr("up to 2"), HasSubstr("newer muster")));
}

TEST(Store, ManifestsThatDoNotAddUpAreRefused) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(20), 1 << 20);
  const std::string path = folder / "s/manifest.textproto";
  const std::string good = read_text(path);
  const std::pair<const char*, const char*> changes[] = {{"\nimages: 20", "\nimages: 19"},
                                                         {"\ncaptions: 30", "\ncaptions: 31"},
                                                         {"  images: 20", "  images: -20"},
                                                         {"  captions: 30", "  captions: 29"},
                                                         {"\"shard-00000.h5\"", "\"../s/shard-00000.h5\""},
                                                         {"image_blob_begin: ", "image_blob_begin: 9"},
                                                         {"image_blob_end: ", "image_blob_end: 9"}};
  for (const auto& [from, to] : changes) {
    std::string text = good;
    ASSERT_NE(text.find(from), std::string::npos) << from;
    text.replace(text.find(from), std::string(from).size(), to);
    write_text(path, with_right_hash(text));
    EXPECT_THAT(error_of([&] { Store{folder / "s"}; }), HasSubstr("do not add up")) << to;
  }
}

TEST(Store, ManifestsWithWrongRegionsAreRefused) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_region_records(20, 7), 1 << 20, 7);
  const std::string path = folder / "s/manifest.textproto";
  const std::string good = read_text(path);
  const auto message_of = [&](const std::string& from, const std::string& to, size_t after = 0) {
    std::string text = good;
    const size_t at = text.find(from, after);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    write_text(path, with_right_hash(text));
    return error_of([&] { Store{folder / "s"}; });
  };
  for (const char* width : {"width: 0", "width: -7", "width: 65537", "width: 6"})
    EXPECT_THAT(message_of("width: 7", width), HasSubstr("do not add up")) << width;
  const size_t features = good.find("region_features"), boxes = good.find("region_boxes");
  for (const size_t place : {features, boxes}) {
    EXPECT_THAT(message_of("begin: ", "begin: 9", place), HasSubstr("do not add up"));
    EXPECT_THAT(message_of("end: ", "end: 9", place), HasSubstr("do not add up"));
    EXPECT_THAT(message_of("begin: ", "begin: 0 # ", place), HasSubstr("do not add up"));  // over the images
  }
  EXPECT_THAT(message_of("format_version: 2", "format_version: 1"), HasSubstr("not a store's manifest"));
  // As many boxes as there are, but where the features are.
  const auto number = [&](const std::string& name, size_t after) {
    return std::stoul(good.substr(good.find(name, after) + name.size()));
  };
  const size_t begin = number("begin: ", boxes), end = number("end: ", boxes), to = number("begin: ", features);
  const std::string from = good.substr(boxes, good.find('}', boxes) - boxes);
  const auto place = [](size_t first, size_t last) {
    return "region_boxes {\n begin: " + std::to_string(first) + "\n end: " + std::to_string(last) + "\n";
  };
  EXPECT_EQ(message_of(from, place(begin, end)), "");
  EXPECT_THAT(message_of(from, place(to, to + end - begin)), HasSubstr("do not add up"));
}

// Manifests with a right hash and wrong contents: refused, or at least harmless.
TEST(Store, MutatedManifestsAreHarmless) {
  const TemporaryFolder folder;
  const auto records = sample_records(20);
  write_store(folder / "s", records, kSmallShard);
  const std::string path = folder / "s/manifest.textproto";
  const std::string good = read_text(path);
  const size_t body = good.rfind("# xxh3-128 ");
  std::mt19937 random(3);
  for (int round = 0; round < 1500; ++round) {
    std::string text = good;
    for (auto edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % body;
      const std::string digits = "0123456789-{}:\"";
      if (random() % 3 == 0)
        text.erase(at, random() % 20);
      else
        text[at] = random() % 2 == 0 ? digits[random() % digits.size()] : static_cast<char>(random());
    }
    write_text(path, with_right_hash(text.substr(0, body) + good.substr(body)));
    const std::string message = error_of([&] {
      const Store store(folder / "s");
      expect_equal(store, records);
    });
    EXPECT_THAT(message, testing::Not(HasSubstr("\n")));
  }
}

// Written by an earlier commit. The hash of the pixels' bytes was taken by xxhsum from what h5py read.
TEST(StoreTest, ReadsFormat1AsAnEarlierCommitWroteIt) {
  const Store store(MUSTER_SOURCE_DIR "/tests/golden/store_v1");
  store.verify();
  EXPECT_EQ(store.images(), 6);
  EXPECT_EQ(store.captions(), 12);
  EXPECT_EQ(store.identities(), 3);
  EXPECT_EQ(store.identity_name(store.identity(5)), "000002");
  EXPECT_EQ(store.images_of(Split::kTest), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(store.source_path(3), "images/000001_01.jpg");
  EXPECT_EQ(store.caption(7), "This lady with long gray hair is wearing a baby blue dress.");
  EXPECT_EQ(store.width(3), 24);
  EXPECT_EQ(store.height(3), 48);
  const std::vector<uint8_t> image = store.image_bytes(3);
  EXPECT_EQ(xxh3_128_hex(image.data(), image.size()), "e70458e441f47938a2d5080f2809d6db");
}

}  // namespace
}  // namespace muster
