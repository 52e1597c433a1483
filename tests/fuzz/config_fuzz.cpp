// Run configs: lines that begin with "--set " are overrides, the rest is the file.
#include <sstream>
#include <string>

#include "configs/load.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  const std::string config = R"(model {
  preset: MINI
  image { width_pixels: 16 height_pixels: 16 width: 24 layers: 1 heads: 2 }
  text { context: 12 width: 24 layers: 1 heads: 2 }
  joint_width: 16
}
data { sampler { identity { identities: 4 samples: 2 } } image { mean: [0.5, 0.5, 0.5] std: [1, 1, 1] flip: true } }
objective { term { weight: 0.5 info_nce { temperature: 0.07 } } term { sdm {} } }
train { global_batch: 8 steps: 4 threads: 1 optimizer { rate: 1e-4 } precision: BF16 }
)";
  return {config,
          config + "--set data.sampler={ uniform {} }\n--set train.global_batch=16\n--set objective.term[0].weight=2\n",
          config + "--set data.image.mean=[0, 0.5, 1]\n--set objective.term[2]={ siglip {} }\n",
          "model { preset: VIT_B_16 }\nobjective { term { info_nce {} } }\ntrain { global_batch: 8 epochs: 2 }\n"};
}

std::vector<std::string> words() {
  return {"{",       "}",        "[",   "]",       ": ",       "--set ",    "train.",     "objective.term[",
          "model",   "data",     "=",   "\n",      "term { ",  "siglip {}", "triplet {}", "tal {}",
          "cmpm {}", "weight: ", "inf", "nan",     "preset: ", "MINI",      "#",          "\"",
          "\\x",     "<",        ">",   "[a.b/c]", ",",        "seed: 1"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  constexpr char kSet[] = "--set ";
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  std::vector<std::string> overrides;
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(kSet, 0) == 0) {
      overrides.push_back(line.substr(sizeof kSet - 1));
    } else {
      text += line + "\n";
    }
  }
  fuzz::allow_refusal([&] {
    const std::string resolved = print_run_config(parse_run_config(text, "input", overrides));
    fuzz::require(print_run_config(parse_run_config(resolved, "resolved", {})) == resolved,
                  "a config that was resolved is read again, and means the same");
  });
  return 0;
}
