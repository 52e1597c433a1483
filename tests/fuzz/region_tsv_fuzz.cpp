// Bottom-up attention's lines, and what is made of the regions in them.
#include <cmath>
#include <string>

#include "dataloader/importers/region_source.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  return {"17\t40\t30\t1\tAAAAAAAAAAAAACBBAAAgQQ==\tAACAPwAAAEA=\n8\t4\t3\t1\tAAAAAAAAAAAAACBAAAAgQA==\tAACAPwAAAEA=",
          "a\t1\t1\t1\tAAAAAAAAAAAAAIA/AACAPw\tAACAPw\r\n\r\n"};
}

std::vector<std::string> words() {
  return {"\t",     "\n",     "\r", "17",   "8",      "0",  "1024",     "AACAPw==",
          "AADAfw", "AACAfw", "=",  "====", "//9/fw", "-1", "999999999"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  const fuzz::MemoryFile file(std::string(reinterpret_cast<const char*>(data), size));
  fuzz::allow_refusal([&] {
    const auto source = open_tsv_regions(file.path(), {});
    const RegionRules& rules = source->rules();
    fuzz::require(rules.width > 0, "features have a width");
    const std::string text(reinterpret_cast<const char*>(data), size);
    const RawRegions raw = source->read(text.substr(0, text.find('\t')));
    const ImageRegions regions = check_regions(raw, rules);
    fuzz::require(regions.count() == raw.count && regions.count() > 0, "as many regions as said");
    fuzz::require(static_cast<int64_t>(regions.features.size()) == raw.count * rules.width, "each of one width");
    for (size_t i = 0; i < regions.boxes.size(); ++i) {
      const float value = regions.boxes[i], most = static_cast<float>(i % 2 == 0 ? raw.width : raw.height);
      fuzz::require(value >= 0 && value <= most, "a box lies in its image");
    }
  });
  return 0;
}
