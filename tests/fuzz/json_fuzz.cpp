// The readers of JSON: one document, lines, a set's list. The first byte chooses.
#include <string>

#include "dataloader/formats/json.h"
#include "dataloader/importers/jsonl.h"
#include "dataloader/importers/person_sets.h"
#include "tests/fuzz/target.h"

namespace muster::fuzz {

std::vector<std::string> seeds() {
  const std::string row =
      R"({"id": 1, "file_path": "a/1.jpg", "captions": ["a man", "\u4eba\ud83d\ude00"], "split": "train"})";
  const std::string line = R"({"image": "1.jpg", "identity": 7, "captions": ["a", "b"], "split": "test"})";
  return {
      "0" + row,
      "01e5",
      "1" + line + "\n" + R"({"image": "2.jpg", "caption": "c", "identity": null, "x": [{}, [1.5e3, true]]})" + "\r\n",
      "1\xef\xbb\xbf" + line,
      "2[" + row + ", " + row + "]",
      "3[{\"id\": 0, \"img_path\": \"1.jpg\", \"captions\": [], \"split\": \"val\"}]"};
}

std::vector<std::string> words() {
  return {"{",         "}",
          "[",         "]",
          ",",         ":",
          "\"",        "\\u",
          "\\ud800",   "null",
          "true",      "-",
          "1e",        "[[[[[[",
          "{\"a\":",   "\"id\": ",
          "\"split\"", "\"captions\"",
          "\"image\"", "\xef\xbb\xbf",
          "\xff\xfe",  "\xc0\x80",
          "\xe4\xba",  "\xf4\x90\x80\x80"};
}

}  // namespace muster::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace muster;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  fuzz::allow_refusal([&] {
    switch (data[0] % 4) {
      case 0:
        parse_json(text, "input");
        break;
      case 1:
        read_jsonl(fuzz::MemoryFile(text).path(), {"/", Split::kTrain});
        break;
      case 2:
        read_person_set(person_set("cuhk-pedes"), fuzz::MemoryFile(text).path(), "/");
        break;
      default:
        read_person_set(person_set("rstpreid"), fuzz::MemoryFile(text).path(), "/");
    }
  });
  return 0;
}
