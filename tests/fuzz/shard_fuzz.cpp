// The tables of a store's shard, in an HDF5 file whose hash is right: fifteen pieces of an input, one a dataset.
#include <algorithm>
#include <cstring>
#include <string>

#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/hdf5_file.h"
#include "dataloader/store_shard.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {
namespace {

constexpr size_t kTables = 15;
constexpr char kCut = '\x1e';

template <typename T>
std::vector<T> numbers(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string cut(const std::vector<std::string>& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += piece + kCut;
  return all;
}

std::vector<std::string> pieces_at_cuts(const uint8_t* data, size_t size) {
  std::vector<std::string> pieces(1);
  for (size_t i = 0; i < size; ++i) {
    if (data[i] == static_cast<uint8_t>(kCut)) {
      pieces.emplace_back();
    } else {
      pieces.back() += static_cast<char>(data[i]);
    }
  }
  pieces.resize(std::max(pieces.size(), kTables));
  return pieces;
}

// As write_shard(), but whatever the tables are.
StoreShard write_tables(const std::string& folder, const std::vector<std::string>& t) {
  const std::string path = folder + "/shard-00000.h5";
  Hdf5Writer hdf5(path, 0);
  hdf5.create_group("images");
  hdf5.write("images/offsets", numbers<uint64_t>(t[0]));
  hdf5.write("images/xxh3", numbers<uint64_t>(t[1]));
  hdf5.write("images/width", numbers<int32_t>(t[2]));
  hdf5.write("images/height", numbers<int32_t>(t[3]));
  hdf5.write("images/id", numbers<int64_t>(t[4]));
  hdf5.write("images/identity", numbers<int64_t>(t[5]));
  hdf5.write("images/split", numbers<uint8_t>(t[6]));
  hdf5.write_bytes("images/path_bytes", t[7]);
  hdf5.write("images/path_offsets", numbers<uint64_t>(t[8]));
  hdf5.create_group("captions");
  hdf5.write_bytes("captions/text_bytes", t[9]);
  hdf5.write("captions/text_offsets", numbers<uint64_t>(t[10]));
  hdf5.write("captions/image", numbers<int64_t>(t[11]));
  hdf5.create_group("identities");
  hdf5.write_bytes("identities/name_bytes", t[12]);
  hdf5.write("identities/name_offsets", numbers<uint64_t>(t[13]));
  const Hdf5Extent blob = hdf5.reserve_bytes("images/bytes", t[14].size());
  hdf5.close();
  StoreShard shard;
  shard.set_file("shard-00000.h5");
  const InputFile file(path);
  shard.set_bytes(file.size());
  shard.set_image_blob_begin(blob.begin);
  shard.set_image_blob_end(blob.begin + blob.bytes);
  shard.set_structure_xxh3(
      xxh3_128_hex_of_ranges(file, {{0, shard.image_blob_begin()}, {shard.image_blob_end(), shard.bytes()}}));
  shard.set_images(static_cast<int64_t>(numbers<uint64_t>(t[1]).size()));
  shard.set_captions(static_cast<int64_t>(numbers<int64_t>(t[11]).size()));
  shard.set_identities(static_cast<int64_t>(numbers<uint64_t>(t[13]).size()) - 1);
  return shard;
}

void visit(const StringTable& table) {
  size_t bytes = 0;
  for (size_t i = 0; i < table.size(); ++i) bytes += table[i].size();
  require(bytes == table.bytes.size(), "the strings of a table are its bytes");
}

}  // namespace

// Two images, three captions, two identities.
std::vector<std::string> seeds() {
  return {cut({bytes_of<uint64_t>({0, 5, 9}), bytes_of<uint64_t>({77, 88}), bytes_of<int32_t>({4, 5}),
               bytes_of<int32_t>({6, 7}), bytes_of<int64_t>({0, 1}), bytes_of<int64_t>({0, 1}), std::string("\0\2", 2),
               "a.jpgb.jpg", bytes_of<uint64_t>({0, 5, 10}), "onetwothree", bytes_of<uint64_t>({0, 3, 6, 11}),
               bytes_of<int64_t>({0, 0, 1}), "AB", bytes_of<uint64_t>({0, 1, 2}), "imageblob"})};
}

std::vector<std::string> words() {
  return {std::string(1, kCut),    std::string(8, '\0'),    std::string(8, '\xff'),  std::string(7, '\xff') + "\x7f",
          bytes_of<uint64_t>({1}), bytes_of<uint64_t>({9}), bytes_of<int32_t>({-1}), bytes_of<int64_t>({2})};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const fuzz::FolderOfFiles folder({});
  const StoreShard shard = fuzz::write_tables(folder.path(), fuzz::pieces_at_cuts(data, size));
  if (shard.identities() < 0) return 0;  // a manifest of such counts is refused
  fuzz::allow_refusal([&] {
    const ShardTables tables = read_shard(folder.path(), shard, {});
    for (const StringTable* table : {&tables.paths, &tables.captions, &tables.identity_names}) fuzz::visit(*table);
    fuzz::require(tables.images() == static_cast<size_t>(shard.images()), "a shard has the images that it says");
    for (const int64_t image : tables.caption_images) {
      fuzz::require(image >= 0 && image < shard.images(), "a caption is of an image of its shard");
    }
    for (size_t i = 0; i < tables.images(); ++i) {
      fuzz::require(tables.image_offsets[i] <= tables.image_offsets[i + 1], "an image's bytes begin before they end");
    }
  });
  return 0;
}
