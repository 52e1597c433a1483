// Lines that runs leave behind: metrics.jsonl, and the rows beside embeddings. The first byte chooses.
#include <string>

#include "dataloader/store.h"
#include "tests/fuzz/target.h"
#include "trainer/report/metrics_file.h"
#include "trainer/split_names.h"

namespace muster::fuzz {
namespace {

const Store& store() {
  static const Store opened(MUSTER_SOURCE_DIR "/tests/golden/store_v1");
  return opened;
}

}  // namespace

std::vector<std::string> seeds() {
  const std::string step =
      R"({"kind":"step","step":10,"total_steps":300,"epoch":0.1,"loss":4.8,"terms":{"info_nce":4.8},"grad_norm":1.2,)"
      R"("rate":1e-4,"logit_scale":14.3,"samples_per_second":412.0,"data_wait_share":0.01,"comm_wait_share":0.0,)"
      R"("eta_seconds":35.0})";
  const std::string figures =
      R"({"r1":5.7,"r5":1,"r10":null,"map":4.4,"minp":1e3,"queries":6526,"gallery":3263,"skipped":0})";
  const std::string evaluation = R"({"kind":"evaluation","step":100,"split":"val","text_to_image":)" + figures +
                                 R"(,"image_to_text":)" + figures + "}";
  return {"0" + step + "\n" + evaluation + "\n", "0torn li\n" + evaluation + "\n{\"kind\":\"step\"}\n[]\n3\n", "2"};
}

std::vector<std::string> words() {
  return {"\"kind\":",
          "\"step\"",
          "\"evaluation\"",
          "\"terms\":{",
          "\"text_to_image\":",
          "null",
          "{",
          "}",
          "[",
          "]",
          "\n",
          "\"side\":\"image\",\"row\":0,",
          "\"path\":\"",
          "1e999",
          "-1",
          "\"\\u0000\"",
          "\xff"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const fuzz::MemoryFile file(text);
  fuzz::allow_refusal([&] {
    if (data[0] % 2 == 0) {
      const MetricsHistory history = read_metrics(file.path());
      for (const StepRecord& record : history.steps) to_json_line(record);
      for (const EvaluationRecord& record : history.evaluations) to_json_line(record);
    } else {
      check_image_rows(file.path(), fuzz::store(), fuzz::store().images_of(Split::kTrain));
    }
  });
  return 0;
}
