// bottom-up-attention-vqa's HDF5 files: tests/golden/regions/hdf5, written by h5py and Python's pickle, and files with
// one mistake each.
#include <c10/util/Half.h>

#include <cmath>
#include <functional>

#include "dataloader/formats/file.h"
#include "dataloader/hdf5_file.h"
#include "dataloader/importers/karpathy.h"
#include "dataloader/importers/region_source.h"
#include "tests/dataloader/import_fixture.h"
#include "tests/support/reference_python.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGolden = MUSTER_SOURCE_DIR "/tests/golden/regions";

// What an adaptive file holds; left out if empty.
struct Arrays {
  std::vector<float> features, boxes, spatial;
  std::vector<int32_t> places, widths, heights;
};

class RegionHdf5 : public ImportTest {
 protected:
  RegionHdf5() { std::filesystem::copy(kGolden, folder_ / "set", std::filesystem::copy_options::recursive); }

  ImportList list(const std::string& path, const RegionOptions& options = {}) {
    ImportList list = read_karpathy(folder_ / "set/dataset.json", RegionIds::kName);
    list.has_images = false;
    list.regions = open_hdf5_regions(path, options);
    return list;
  }
  ImportList list() { return list(folder_ / "set/hdf5"); }
  std::string message(const RegionOptions& options = {}) {
    return message_of([&] { import(list(folder_ / "set/hdf5", options)); });
  }

  template <typename T>
  static void put(const std::string& path, const Hdf5Extent& extent, const std::vector<T>& values) {
    OutputFile file(path, extent.begin);
    file.write(values.data(), values.size() * sizeof(T));
    file.finish();
  }
  // set/hdf5/a.hdf5 with features of two numbers; image 17 is row 0, 18 row 1. No other file is left there.
  void write(const Arrays& arrays, const std::string& index = "(dp0\nI17\nI0\nsI18\nI1\ns.") {
    std::filesystem::remove_all(folder_ / "set/hdf5");
    write_list("set/hdf5/a_imgid2idx.pkl", index);
    const std::string path = folder_ / "set/hdf5/a.hdf5";
    Hdf5Writer writer(path, 1000);
    const auto table = [&](const char* name, Hdf5Type type, size_t size, uint64_t columns) {
      return size == 0 ? Hdf5Extent{} : writer.reserve_table(name, type, size / columns, columns);
    };
    const Hdf5Extent features = table("image_features", Hdf5Type::kFloat32, arrays.features.size(), 2);
    const Hdf5Extent boxes = table("image_bb", Hdf5Type::kFloat32, arrays.boxes.size(), 4);
    const Hdf5Extent spatial = table("spatial_features", Hdf5Type::kFloat32, arrays.spatial.size(), 6);
    const Hdf5Extent places = table("pos_boxes", Hdf5Type::kInt32, arrays.places.size(), 2);
    if (!arrays.widths.empty()) writer.write("image_w", arrays.widths);
    if (!arrays.heights.empty()) writer.write("image_h", arrays.heights);
    writer.close();
    put(path, features, arrays.features);
    put(path, boxes, arrays.boxes);
    put(path, spatial, arrays.spatial);
    put(path, places, arrays.places);
  }
  // Sizes of both images are 40 x 30.
  static Arrays good() {
    return {{1, 2, 3, 4, 5, 6}, {0, 0, 20, 15, 5, 5, 10, 30, 0, 0, 40, 1}, {}, {0, 2, 2, 3}, {40, 40}, {30, 30}};
  }
};

// Fixed numbers of regions and others, protocols 0 and 4, sizes from spatial_features: the store of the npz folders,
// which NumPy wrote of the same numbers.
TEST_F(RegionHdf5, AsNpzFolders) {
  ImportList npz = read_karpathy(folder_ / "set/dataset.json", RegionIds::kNumber);
  npz.has_images = false;
  npz.regions = open_npz_regions(folder_ / "set", {"17", "18"}, {0, {folder_ / "set/sizes.json"}});
  import(std::move(npz));
  const auto expected = folder_contents(folder_ / "out");
  for (const int threads : {1, 5}) {
    std::filesystem::remove_all(folder_ / "out");
    import(list(), false, threads);
    EXPECT_EQ(folder_contents(folder_ / "out"), expected);
  }
}

TEST_F(RegionHdf5, OneFileAndSizesFromElsewhere) {
  write(good());
  Arrays arrays = good();
  const auto sizes_by = [&](const Arrays& written, const RegionOptions& options) {
    write(written);
    std::filesystem::remove_all(folder_ / "out");
    import(list(folder_ / "set/hdf5/a.hdf5", options));
    const Store store(folder_ / "out");
    EXPECT_EQ(store.region_count(0), 2);
    EXPECT_EQ(store.region_count(1), 1);
    std::vector<uint16_t> features(4);
    std::vector<float> boxes(8);
    store.read_regions(0, features.data(), boxes.data());
    EXPECT_THAT(features, ElementsAre(0x3c00, 0x4000, 0x4200, 0x4400));  // 1 2 3 4
    EXPECT_THAT(boxes, ElementsAre(0, 0, 20, 15, 5, 5, 10, 30));
    return std::vector<int>{store.width(0), store.height(0), store.width(1), store.height(1)};
  };
  EXPECT_THAT(sizes_by(arrays, {}), ElementsAre(40, 30, 40, 30));
  // Half the regions' shares are NaN: those of the boxes that reach furthest count.
  const float nan = std::nanf("");
  arrays.spatial = {0, 0, 0.4F, nan, 0, 0, 0, 0, nan, 30 / 33.F, 0, 0, 0, 0, 40 / 47.F, 1 / 51.F, 0, 0};
  EXPECT_THAT(sizes_by(arrays, {}), ElementsAre(40, 30, 40, 30)) << "image_w and image_h come first";
  arrays.widths.clear();
  EXPECT_THAT(sizes_by(arrays, {}), ElementsAre(50, 33, 47, 51));
  write_list("set/sizes.json", R"({"images": [{"id": 18, "width": 90, "height": 91}]})");
  EXPECT_THAT(sizes_by(arrays, {0, {folder_ / "set/sizes.json"}}), ElementsAre(50, 33, 90, 91));
}

TEST_F(RegionHdf5, MistakesOfAnImageAreNamed) {
  const float inf = INFINITY;
  const auto with = [&](const std::function<void(Arrays&)>& change) {
    Arrays arrays = good();
    change(arrays);
    write(arrays);
    return message();
  };
  EXPECT_THAT(
      with([&](Arrays& a) { a.features[3] = inf; }),
      AllOf(HasSubstr("dataset.json[0]: regions of val2014/COCO_17.jpg: "), HasSubstr("number 1 of region 1 is inf")));
  EXPECT_THAT(with([](Arrays& a) { a.features[4] = 65520; }),
              AllOf(HasSubstr("dataset.json[1]"), HasSubstr("number 0 of region 0 is 65520, beyond float16")));
  EXPECT_THAT(with([](Arrays& a) { a.boxes[4] = 11; }),
              HasSubstr("the box of region 1 (11, 5, 10, 30) is turned round"));
  EXPECT_THAT(with([](Arrays& a) { a.boxes[10] = 41; }), HasSubstr("lies outside its image of 40 x 30"));
  EXPECT_THAT(with([](Arrays& a) { a.places = {0, 2, 3, 3}; }), HasSubstr("has 0 regions, not 1 to 1024"));
  for (const std::vector<int32_t>& places : {std::vector<int32_t>{0, 2, 2, 4}, {0, 2, -1, 1}, {0, 2, 2, 1}}) {
    EXPECT_THAT(with([&](Arrays& a) { a.places = places; }),
                HasSubstr("a.hdf5: pos_boxes[1] is " + std::to_string(places[2]) + " to " + std::to_string(places[3]) +
                          ", of 3 regions"));
  }
  EXPECT_THAT(with([](Arrays& a) { a.widths[1] = 0; }), HasSubstr("size in pixels is not known"));
  EXPECT_THAT(with([](Arrays& a) { a.widths.clear(); }), HasSubstr("size in pixels is not known"));
  write(good());
  EXPECT_THAT(message({2, {}}), AllOf(HasSubstr("dataset.json[1]"), HasSubstr("has 1 regions, not 2")));
}

// Which of them comes first, in the middle or last; the shares of the others say nothing.
TEST_F(RegionHdf5, TheRegionThatReachesFurthestGivesTheSize) {
  const float nan = std::nanf("");
  for (size_t furthest = 0; furthest < 3; ++furthest) {
    Arrays arrays{{1, 2, 3, 4, 5, 6, 7, 8}, {}, {}, {0, 3, 3, 4}, {}, {}};
    for (size_t r = 0; r < 4; ++r) {
      const bool is_last = r == furthest || r == 3;
      const float right = is_last ? 40 : 20, low = is_last ? 30 : 10;
      arrays.boxes.insert(arrays.boxes.end(), {1, 1, right, low});
      arrays.spatial.insert(arrays.spatial.end(),
                            {nan, nan, is_last ? right / 50 : nan, is_last ? low / 33 : nan, nan, nan});
    }
    write(arrays);
    std::filesystem::remove_all(folder_ / "out");
    import(list());
    const Store store(folder_ / "out");
    EXPECT_EQ(store.width(0), 50) << furthest;
    EXPECT_EQ(store.height(0), 33) << furthest;
  }
}

TEST_F(RegionHdf5, SharesThatBelongToOtherBoxesGiveNoSize) {
  Arrays arrays = good();
  arrays.widths.clear();
  arrays.spatial = {0, 0, 0.5F, 0.5F, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1 / 30.F, 0, 0};
  write(arrays);
  import(list());
  std::filesystem::remove_all(folder_ / "out");
  const std::pair<size_t, float> changes[] = {{14, 0.99F},         {14, -1},     {14, 0},
                                              {14, std::nanf("")}, {15, 0.034F}, {14, 1e-9F}};
  for (const auto& [place, share] : changes) {
    Arrays other = arrays;
    other.spatial[place] = share;
    write(other);
    EXPECT_THAT(message(), AllOf(HasSubstr("dataset.json[1]"), HasSubstr("size in pixels is not known"))) << share;
  }
}

TEST_F(RegionHdf5, MistakesOfFilesAreNamed) {
  const auto with = [&](const std::function<void(Arrays&)>& change) {
    Arrays arrays = good();
    change(arrays);
    write(arrays);
    return message();
  };
  EXPECT_THAT(with([](Arrays& a) { a.features.clear(); }), HasSubstr("a.hdf5: image_features is missing"));
  EXPECT_THAT(with([](Arrays& a) { a.boxes.clear(); }), HasSubstr("a.hdf5: image_bb is missing"));
  EXPECT_THAT(with([](Arrays& a) { a.boxes.resize(8); }),
              HasSubstr("image_bb is [2, 4], not [3, 4] as image_features [3, 2] would have it"));
  EXPECT_THAT(with([](Arrays& a) { a.widths.clear(), a.spatial.resize(12); }),
              HasSubstr("spatial_features is [2, 6], not [3, 6]"));
  EXPECT_THAT(with([](Arrays& a) { a.widths.resize(3); }), HasSubstr("image_w is [3], not [2]"));
  EXPECT_THAT(
      with([](Arrays& a) { a.places.clear(); }),
      HasSubstr("image_features is [3, 2], not [images, regions, width]; other numbers of regions need pos_boxes"));
  write(good(), "(dp0\nI17\nI0\nsI18\nI2\ns.");
  EXPECT_THAT(message(), AllOf(HasSubstr("a_imgid2idx.pkl: image 18 is row 2, but "), HasSubstr("has rows 0 to 1")));
  write(good(), "(dp0\nI17\nI-1\ns.");
  EXPECT_THAT(message(), HasSubstr("image 17 is row -1"));
  write(good(), "(dp0\nI17\nI1\nsI18\nI1\ns.");
  EXPECT_THAT(message(), HasSubstr("row 1 belongs to two images, one of them 18"));
  write(good(), "(dp0\nI17\nI1\nsI17\nI0\ns.");
  EXPECT_THAT(message(), HasSubstr("image 17 was there before"));
  write(good(), "(dp0\nI17\nI1\ns.");
  EXPECT_THAT(message(),
              AllOf(HasSubstr("dataset.json[1]"), HasSubstr("image 18 is not in "), HasSubstr("/a_imgid2idx.pkl")));
  write(good(), "cos\nsystem\n(S'true'\ntR.");
  EXPECT_THAT(message(), HasSubstr("a_imgid2idx.pkl: byte 0 is opcode 0x63"));
  std::filesystem::remove(folder_ / "set/hdf5/a_imgid2idx.pkl");
  EXPECT_THAT(message(), HasSubstr("a_imgid2idx.pkl is missing, the pickle that says"));
  std::filesystem::remove(folder_ / "set/hdf5/a.hdf5");
  EXPECT_THAT(message(), HasSubstr("there is no file X.hdf5 in "));
  write_list("set/hdf5/a.hdf5", "no HDF5");
  EXPECT_THAT(message(), HasSubstr("a.hdf5 cannot be opened as HDF5"));
}

TEST_F(RegionHdf5, FilesThatDoNotGoTogether) {
  write(good(), "(dp0\nI17\nI0\ns.");
  std::filesystem::copy(kGolden + "/hdf5", folder_ / "set/hdf5", std::filesystem::copy_options::recursive);
  EXPECT_THAT(message(), AllOf(HasSubstr("train3.hdf5 has features of 4 numbers, "), HasSubstr("/a.hdf5 of 2")));
  for (const char* end : {".hdf5", "_imgid2idx.pkl"}) {
    std::filesystem::copy(kGolden + "/hdf5/train3" + end, folder_ / ("set/hdf5/a" + std::string(end)),
                          std::filesystem::copy_options::overwrite_existing);
  }
  EXPECT_THAT(message(), HasSubstr("train3_imgid2idx.pkl: image 17 was there before, here or in another file"));
}

// As h5py would write them if asked to.
constexpr char kOtherFiles[] = R"(
import h5py, sys
def write(name, block=0, features={}, boxes={}, dtype='f', shape=(2, 3, 4)):
    with h5py.File(sys.argv[1] + '/' + name, 'w', userblock_size=block) as h:
        h.create_dataset('image_features', shape, dtype, **features)[...] = 1
        h.create_dataset('image_bb', (2, 3, 4), 'f', **boxes)[...] = 0
        h.create_dataset('image_w', data=[8, 8], dtype='i4')
        h.create_dataset('image_h', data=[8, 8], dtype='i4')
write('block', block=512)
write('chunked', features={'chunks': (1, 3, 4)})
write('deflated', boxes={'compression': 'gzip'})
write('double', dtype='f8')
write('big', dtype='>f4')
write('flat', shape=(6, 4))
write('none', shape=(2, 3, 0))
write('deep', shape=(2, 3, 4, 1))
write('nine', shape=(1,) * 9)
with h5py.File(sys.argv[1] + '/scalar', 'w') as h:
    h.create_dataset('image_features', (), 'f')[...] = 1
with h5py.File(sys.argv[1] + '/outside', 'w') as h:
    h['image_features'] = h5py.ExternalLink('block', 'image_features')
with h5py.File(sys.argv[1] + '/unwritten', 'w') as h:
    h.create_dataset('image_features', (1 << 40, 36, 2048), 'f')
with h5py.File(sys.argv[1] + '/group', 'w') as h:
    h.create_group('image_features')
)";

TEST_F(RegionHdf5, OtherLayoutsOfH5py) {
  MUSTER_SKIP_WITHOUT_REFERENCE_PYTHON();
  std::filesystem::create_directory(folder_ / "h");
  run_reference_python(kOtherFiles, {folder_ / "h"});
  write(good());
  const auto take = [&](const std::string& name) {
    std::filesystem::copy(folder_ / ("h/" + name), folder_ / "set/hdf5/a.hdf5",
                          std::filesystem::copy_options::overwrite_existing);
  };
  const std::pair<const char*, const char*> cases[] = {
      {"chunked", "image_features is not contiguous and unfiltered; make it so with h5repack -f NONE -l CONTI OLD NEW"},
      {"deflated", "image_bb is not contiguous and unfiltered"},
      {"double", "image_features has the wrong type, not float32"},
      {"big", "image_features has the wrong type, not float32"},
      {"flat", "image_features is [6, 4], not [images, regions, width]"},
      {"none", "image_features is empty"},
      {"deep", "image_features is [2, 3, 4, 1], not [images, regions, width]"},
      {"nine", "image_features is no array of 1 to 8 dimensions"},
      {"scalar", "image_features is no array of 1 to 8 dimensions"},
      {"outside", "image_features is a link to elsewhere"},
      {"unwritten", "image_features does not lie within the file"},
      {"group", "image_features is no dataset"},
  };
  for (const auto& [name, expected] : cases) {
    take(name);
    EXPECT_THAT(message(), HasSubstr(std::string("a.hdf5: ") + expected)) << name;
  }
  take("block");
  import(list());
  const Store store(folder_ / "out");
  std::vector<uint16_t> features(12);
  std::vector<float> boxes(12);
  store.read_regions(0, features.data(), boxes.data());
  EXPECT_EQ(features, std::vector<uint16_t>(12, 0x3c00));
}

}  // namespace
}  // namespace muster
