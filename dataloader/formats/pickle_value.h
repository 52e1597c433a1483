// What a pickle holds, as plain data: nothing of it was called.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace muster {

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,     // integer
    kInteger,  // integer
    kReal,     // real
    kString,   // text
    kTuple,    // items
    kList,     // items
    kDict,     // items: key, value, key, value, ...
    kClass,    // text: "module.name", one of those that are allowed
    kObject,   // a TorchScript module; items: attribute names and values, as a dict's
    kStorage,  // integer: its elements; items: key, class
    kTensor,   // items: storage, offset, sizes, strides
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<const PickleValue*> items;
};

// A graph of values without cycles: what is shared in the pickle is shared here.
class PickleTree {
 public:
  const PickleValue& root() const { return *root_; }

 private:
  friend class Unpickler;
  std::deque<PickleValue> values_;  // whose addresses stay
  const PickleValue* root_ = nullptr;
};

}  // namespace muster
