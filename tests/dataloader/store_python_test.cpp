// Stores against h5py and h5dump: others read what we write, and what others write is looked at with care.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "dataloader/formats/file.h"
#include "dataloader/formats/hashes.h"
#include "dataloader/store_manifest.h"
#include "tests/dataloader/sample_store.h"
#include "tests/support/child_process.h"
#include "tests/support/reference_python.h"
#include "tests/support/temporary_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

nlohmann::json as_json(const std::vector<StoreRecord>& records) {
  nlohmann::json list = nlohmann::json::array();
  for (const StoreRecord& r : records) {
    list.push_back({{"path", r.source_path},
                    {"image", r.image},
                    {"width", r.width},
                    {"height", r.height},
                    {"captions", r.captions},
                    {"identity", r.identity},
                    {"split", static_cast<int>(r.split)},
                    {"xxh3", xxh3_64(r.image.data(), r.image.size())}});
  }
  return list;
}

// Follows dataloader/README.md and nothing else.
constexpr char kReadWithH5py[] = R"(
import glob, json, sys, h5py, numpy as np
records = json.load(open(sys.argv[2]))
names, row, shards = [], 0, sorted(glob.glob(sys.argv[1] + '/shard-*.h5'))
assert len(shards) == 6, shards
def strings(group, name):
    data, offsets = group[name + '_bytes'][:].tobytes(), group[name + '_offsets'][:]
    return [data[a:b].decode('utf-8') for a, b in zip(offsets[:-1], offsets[1:])]
for path in shards:
    with h5py.File(path, 'r') as f:
        def plain(name, item):
            assert h5py.h5g.get_objinfo(item.id).mtime == 0, name  # the same input must give the same bytes
            if isinstance(item, h5py.Dataset):
                assert item.chunks is None and item.compression is None and item.external is None and item.ndim == 1, name
        f.visititems(plain)
        images, captions = f['images'], f['captions']
        names += strings(f['identities'], 'name')
        for name, dtype in {'bytes': 'u1', 'offsets': '<u8', 'xxh3': '<u8', 'width': '<i4', 'height': '<i4', 'id': '<i8',
                            'identity': '<i8', 'split': 'u1'}.items():
            assert images[name].dtype == np.dtype(dtype), name
        offsets, paths, texts = images['offsets'][:], strings(images, 'path'), strings(captions, 'text')
        n = len(offsets) - 1
        assert offsets[0] == 0 and offsets[n] == len(images['bytes'])
        for i in range(n):
            r = records[row]
            assert images['bytes'][offsets[i]:offsets[i + 1]].tolist() == r['image']
            assert int(images['xxh3'][i]) == r['xxh3']
            assert (images['width'][i], images['height'][i]) == (r['width'], r['height'])
            assert images['id'][i] == row and images['split'][i] == r['split'] and paths[i] == r['path']
            assert names[images['identity'][i]] == r['identity']
            assert [t for t, c in zip(texts, captions['image'][:]) if c == i] == r['captions']
            row += 1
assert row == len(records) and len(names) == len(set(names))
)";

TEST(StorePython, H5pyReadsEveryValue) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  const auto records = sample_records(60);
  write_store(folder / "s", records, 1000);
  write_text(folder / "records.json", as_json(records).dump());
  run_reference_python(kReadWithH5py, {folder / "s", folder / "records.json"});
}

// Likewise.
constexpr char kReadRegionsWithH5py[] = R"(
import glob, json, sys, h5py, numpy as np
records, row = json.load(open(sys.argv[2])), 0
for path in sorted(glob.glob(sys.argv[1] + '/shard-*.h5')):
    with h5py.File(path, 'r') as f:
        r = f['regions']
        for name, dtype, ndim in (('features', '<f2', 2), ('boxes', '<f4', 2), ('offsets', '<u8', 1), ('xxh3', '<u8', 1)):
            d = r[name]
            assert d.dtype == np.dtype(dtype) and d.ndim == ndim and d.chunks is None and d.compression is None, name
        offsets = r['offsets'][:]
        for a, b, hash in zip(offsets[:-1], offsets[1:], r['xxh3'][:]):
            features, boxes = r['features'][a:b], r['boxes'][a:b]
            assert features.view('<u2').ravel().tolist() == records[row]['features'], row
            assert boxes.ravel().tolist() == records[row]['boxes'] and int(hash) == records[row]['xxh3'], row
            row += 1
assert row == len(records)
)";

TEST(StorePython, H5pyReadsRegions) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  nlohmann::json list = nlohmann::json::array();
  const auto records = sample_region_records(30, 7);
  for (const StoreRecord& r : records) {
    std::string bytes(reinterpret_cast<const char*>(r.regions.features.data()), r.regions.features.size() * 2);
    bytes.append(reinterpret_cast<const char*>(r.regions.boxes.data()), r.regions.boxes.size() * 4);
    list.push_back(
        {{"features", r.regions.features}, {"boxes", r.regions.boxes}, {"xxh3", xxh3_64(bytes.data(), bytes.size())}});
  }
  write_store(folder / "s", records, 1000, 7);
  write_text(folder / "records.json", list.dump());
  run_reference_python(kReadRegionsWithH5py, {folder / "s", folder / "records.json"});
}

TEST(StorePython, H5dumpReadsIt) {
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(20), 1 << 20);
  const ProgramResult result = run_program({"h5dump", "-d", "images/offsets", "-p", folder / "s/shard-00000.h5"});
  if (result.exit_code == 127) GTEST_SKIP() << "h5dump is not installed";
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("CONTIGUOUS"), HasSubstr("H5T_STD_U64LE"), HasSubstr("( 21 )")));
  EXPECT_EQ(run_program({"h5dump", folder / "s/shard-00000.h5"}).exit_code, 0);
}

// Each name of a change and what the reader must say of it.
struct Change {
  const char* name;
  const char* message;
};
constexpr Change kChanges[] = {
    {"missing", "images/width is missing"},
    {"chunked", "not contiguous"},
    {"gzip", "not contiguous"},
    {"type", "wrong type"},
    {"two_dimensional", "not one-dimensional"},
    {"soft_link", "link to elsewhere"},
    {"external_link", "link to elsewhere"},
    {"external_storage", "not contiguous"},
    {"group", "is no dataset"},
    {"length", "elements, not"},
    {"offsets", "ascending list of offsets"},
    {"beyond", "ascending list of offsets"},
    {"identity", "unknown identity"},
    {"split", "unknown split"},
    {"caption_rows", "ascending list of images"},
    {"id", "does not count upwards"},
    {"size", "not positive"},
};

constexpr char kMakeChanges[] = R"(
import shutil, sys, h5py, numpy as np
for name in sys.argv[2:]:
    shutil.copytree(sys.argv[1], sys.argv[1] + '_' + name)
    with h5py.File(sys.argv[1] + '_' + name + '/shard-00000.h5', 'r+') as f:
        width = f['images/width'][:]
        if name in ('offsets', 'beyond', 'identity', 'split', 'caption_rows', 'id', 'size'):
            if name == 'offsets': f['images/offsets'][2] = 2**40
            if name == 'beyond': f['captions/text_offsets'][-1] = 2**63
            if name == 'identity': f['images/identity'][0] = 10**6
            if name == 'split': f['images/split'][0] = 3
            if name == 'caption_rows': f['captions/image'][0] = -1
            if name == 'id': f['images/id'][1] = 0
            if name == 'size': f['images/width'][0] = 0
            continue
        del f['images/width']
        if name == 'chunked': f.create_dataset('images/width', data=width, chunks=(5,))
        if name == 'gzip': f.create_dataset('images/width', data=width, compression='gzip')
        if name == 'type': f['images/width'] = width.astype('f4')
        if name == 'two_dimensional': f['images/width'] = width.reshape(-1, 1)
        if name == 'soft_link': f['images/width'] = h5py.SoftLink('/images/height')
        if name == 'external_link': f['images/width'] = h5py.ExternalLink('/etc/passwd', '/images/height')
        if name == 'external_storage':
            f.create_dataset('images/width', shape=width.shape, dtype='i4', external=[('/etc/passwd', 0, width.nbytes)])
        if name == 'group': f.create_group('images/width')
        if name == 'length': f['images/width'] = width[:-1]
)";

// The manifest made to agree with the shard file, so that only the reader's other checks stand.
void agree(const std::string& store) {
  const std::string path = store + "/shard-00000.h5";
  std::string text = read_text(store + "/manifest.textproto");
  const auto number = [&](const std::string& field) { return text.find(field + ": ") + field.size() + 2; };
  const size_t bytes = number("bytes");
  text.replace(bytes, text.find('\n', bytes) - bytes, std::to_string(std::filesystem::file_size(path)));
  const std::string shard = read_text(path);
  const auto begin = std::stoul(text.substr(number("image_blob_begin")));
  const auto end = std::stoul(text.substr(number("image_blob_end")));
  const std::string structure = shard.substr(0, begin) + shard.substr(end);
  text.replace(number("structure_xxh3") + 1, 32, xxh3_128_hex(structure.data(), structure.size()));
  write_text(store + "/manifest.textproto", with_right_hash(text));
}

TEST(StorePython, WhatOthersWroteIsChecked) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  write_store(folder / "s", sample_records(20), 1 << 20);
  std::vector<std::string> arguments = {folder / "s"};
  for (const Change& change : kChanges) arguments.emplace_back(change.name);
  run_reference_python(kMakeChanges, arguments);
  agree(folder / "s");
  EXPECT_EQ(Store(folder / "s").images(), 20);
  for (const Change& change : kChanges) {
    const std::string path = folder / ("s_" + std::string(change.name));
    agree(path);
    EXPECT_THAT(error_of([&] { Store{path}; }), HasSubstr(change.message)) << change.name;
  }
}

constexpr Change kRegionChanges[] = {
    {"missing", "regions/features is missing"},    {"type", "wrong type"},
    {"flat", "regions/features is not a table"},   {"shape", "x 2 elements, not"},
    {"elsewhere", "regions/boxes lies elsewhere"}, {"empty", "an image without regions"},
    {"beyond", "ascending list of offsets"},       {"length", "elements, not"},
};

constexpr char kMakeRegionChanges[] = R"(
import shutil, sys, h5py
for name in sys.argv[2:]:
    shutil.copytree(sys.argv[1], sys.argv[1] + '_' + name)
    with h5py.File(sys.argv[1] + '_' + name + '/shard-00000.h5', 'r+') as f:
        r = f['regions']
        features, boxes, offsets = r['features'][:], r['boxes'][:], r['offsets'][:]
        def replace(name, data):
            del r[name]
            r[name] = data
        if name == 'missing': del r['features']
        if name == 'type': replace('features', features.view('<i2'))
        if name == 'flat': replace('features', features.ravel())
        if name == 'shape': replace('boxes', boxes.reshape(-1, 2))
        if name == 'elsewhere': r['more'] = boxes; del r['boxes']; r['boxes'] = r['more']
        if name == 'empty': offsets[1] = 0; r['offsets'][:] = offsets
        if name == 'beyond': offsets[-1] = 2**40; r['offsets'][:] = offsets
        if name == 'length': replace('offsets', offsets[:-1])
)";

// As agree(), for a store of one shard with regions.
void agree_with_regions(const std::string& store) {
  const std::string path = store + "/manifest.textproto";
  StoreManifest manifest = parse_store_manifest(read_text(path), path);
  StoreShard& shard = *manifest.mutable_shard(0);
  const InputFile file(store + "/shard-00000.h5");
  shard.set_bytes(file.size());
  std::vector<ByteRange> structure = {{0, 0}};
  for (const ByteRange& blob : blobs_of(shard)) {
    structure.back().end = blob.begin;
    structure.push_back({blob.end, file.size()});
  }
  shard.set_structure_xxh3(xxh3_128_hex_of_ranges(file, structure));
  write_text(path, format_store_manifest(manifest));
}

TEST(StorePython, RegionsThatOthersWroteAreChecked) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  const TemporaryFolder folder;
  write_store(folder / "s", sample_region_records(20, 7), 1 << 20, 7);
  std::vector<std::string> arguments = {folder / "s"};
  for (const Change& change : kRegionChanges) arguments.emplace_back(change.name);
  run_reference_python(kMakeRegionChanges, arguments);
  for (const Change& change : kRegionChanges) {
    const std::string path = folder / ("s_" + std::string(change.name));
    agree_with_regions(path);
    EXPECT_THAT(error_of([&] { Store{path}; }), HasSubstr(change.message)) << change.name;
  }
}

}  // namespace
}  // namespace muster
