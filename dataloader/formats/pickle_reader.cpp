#include "dataloader/formats/pickle_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "launch/error.h"

namespace muster {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kSize = "torch.Size";
constexpr std::string_view kScriptModule = "__torch__.";
constexpr std::string_view kAllowed[] = {
    kRebuildTensor,       kRebuildParameter,   kOrderedDict,          kSize,
    "torch.FloatStorage", "torch.HalfStorage", "torch.DoubleStorage", "torch.BFloat16Storage",
    "torch.LongStorage",  "torch.IntStorage",  "torch.ShortStorage",  "torch.CharStorage",
    "torch.ByteStorage",  "torch.BoolStorage"};

// The opcodes that are read: all that Python's protocol 2 and TorchScript's pickler write for tensors, numbers, texts
// and containers.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyList = ']',
  kEmptyDict = '}',
  kEmptyTuple = ')',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
};

}  // namespace

// The pickle machine: a stack, marks on it, and a memo.
class Unpickler {
 public:
  Unpickler(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  PickleTree run() {
    while (step()) {
    }
    if (stack_.size() != 1 || !marks_.empty()) damaged("it does not end with one value");
    tree_.root_ = stack_.back();
    return std::move(tree_);
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw DataError(fmt::format("{}: its pickle is damaged at byte {}: {}", path_, at_, what));
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - at_) damaged("it ends too early");
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }

  // A little-endian number of `size` bytes.
  uint64_t number(size_t size) {
    const std::string_view digits = take(size);
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<uint8_t>(digits[i])} << (8 * i);
    return value;
  }

  std::string_view line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) damaged("it ends too early");
    const std::string_view text = take(end - at_);
    ++at_;
    return text;
  }

  [[noreturn]] void too_large(const char* what, size_t most) const {
    throw DataError(fmt::format("{}: its pickle holds more than {} {}: save the tensors alone", path_, most, what));
  }

  // Before places are made for so many items: what the memo repeats must not multiply.
  void spend(size_t items) {
    items_ += items;
    if (items_ > kMaxPickleItems) too_large("items", kMaxPickleItems);
  }

  PickleValue& push(Kind kind) {
    if (tree_.values_.size() == kMaxPickleValues) too_large("values", kMaxPickleValues);
    PickleValue& value = tree_.values_.emplace_back();
    value.kind = kind;
    stack_.push_back(&value);
    return value;
  }

  void push_integer(int64_t integer, Kind kind = Kind::kInteger) { push(kind).integer = integer; }

  // Of the stack above the last mark.
  size_t least() const { return marks_.empty() ? 0 : marks_.back(); }

  PickleValue& top() const {
    if (stack_.size() <= least()) damaged("it takes a value from an empty stack");
    return *stack_.back();
  }

  PickleValue& pop() {
    PickleValue& value = top();
    stack_.pop_back();
    return value;
  }

  // Everything above the last mark, which goes too.
  std::vector<const PickleValue*> pop_to_mark() {
    if (marks_.empty()) damaged("a mark is missing");
    spend(stack_.size() - marks_.back());
    std::vector<const PickleValue*> values(stack_.begin() + static_cast<int64_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return values;
  }

  void push_tuple(size_t size) {
    spend(size);
    std::vector<const PickleValue*> items(size);
    for (size_t i = size; i > 0; --i) items[i - 1] = &pop();
    push(Kind::kTuple).items = std::move(items);
  }

  void extend(Kind kind, const std::vector<const PickleValue*>& items) {
    spend(items.size());
    PickleValue& container = top();
    if (container.kind != kind || (kind == Kind::kDict && items.size() % 2 != 0)) {
      damaged("items are put into what is no such container");
    }
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  void global() {
    const std::string_view module = line(), name = line();
    const std::string full = fmt::format("{}.{}", module, name);
    const bool script = full.compare(0, kScriptModule.size(), kScriptModule) == 0;
    if (!script && std::find(std::begin(kAllowed), std::end(kAllowed), full) == std::end(kAllowed)) {
      throw DataError(
          fmt::format("{}: holds code to run ({:.100}), which Muster never does; save the tensors alone, in Python: "
                      "torch.save(model.state_dict(), \"new.pt\")",
                      path_, full));
    }
    push(Kind::kClass).text = full;
  }

  void new_object() {
    const PickleValue& arguments = pop();
    const PickleValue& made_of = pop();
    const bool plain = arguments.kind == Kind::kTuple && arguments.items.empty() && made_of.kind == Kind::kClass &&
                       made_of.text.compare(0, kScriptModule.size(), kScriptModule) == 0;
    if (!plain) damaged("it makes an object that is no TorchScript module");
    push(Kind::kObject);
  }

  // Attributes of a TorchScript module. Those of others, such as the version notes of a state_dict, are left out.
  void build() {
    const PickleValue& state = pop();
    PickleValue& object = top();
    if (state.kind != Kind::kDict || (object.kind != Kind::kObject && object.kind != Kind::kDict)) {
      damaged("it gives attributes to what has none");
    }
    if (object.kind != Kind::kObject) return;
    spend(state.items.size());
    object.items = state.items;
  }

  void reduce() {
    const PickleValue& arguments = pop();
    const PickleValue& called = pop();
    if (called.kind != Kind::kClass || arguments.kind != Kind::kTuple) damaged("it calls what is no class");
    const auto& items = arguments.items;
    if (called.text == kOrderedDict && items.empty()) {
      push(Kind::kDict);
    } else if (called.text == kRebuildTensor && items.size() >= 4) {
      push(Kind::kTensor).items = {items[0], items[1], items[2], items[3]};
    } else if (called.text == kRebuildParameter && !items.empty() && items[0]->kind == Kind::kTensor) {
      push(Kind::kTensor).items = items[0]->items;
    } else if (called.text == kSize && items.size() == 1 && items[0]->kind == Kind::kTuple) {
      spend(items[0]->items.size());
      push(Kind::kTuple).items = items[0]->items;
    } else {
      damaged(fmt::format("{:.100} with other arguments than torch.save writes", called.text));
    }
  }

  // ("storage", class, key, device, elements)
  void storage() {
    const PickleValue& id = pop();
    const bool whole = id.kind == Kind::kTuple && id.items.size() >= 5 && id.items[0]->kind == Kind::kString &&
                       id.items[0]->text == "storage" && id.items[1]->kind == Kind::kClass &&
                       id.items[2]->kind == Kind::kString && id.items[4]->kind == Kind::kInteger;
    if (!whole) damaged("it refers to what is no storage");
    PickleValue& value = push(Kind::kStorage);
    value.integer = id.items[4]->integer;
    value.items = {id.items[2], id.items[1]};
  }

  void long_integer() {
    const uint64_t size = number(1);
    if (size > 8) damaged("a number of more than 64 bits");
    uint64_t value = number(size);
    if (size > 0 && size < 8 && (value >> (8 * size - 1)) != 0) value |= ~uint64_t{0} << (8 * size);
    push_integer(static_cast<int64_t>(value));
  }

  // Big-endian, as no other number is.
  void real() {
    const std::string_view digits = take(8);
    uint64_t bits = 0;
    for (const char digit : digits) bits = bits << 8U | static_cast<uint8_t>(digit);
    std::memcpy(&push(Kind::kReal).real, &bits, sizeof bits);
  }

  void get(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) damaged("it reads a memo that is empty");
    spend(1);
    stack_.push_back(found->second);
  }

  void put(uint64_t key) {
    if (memo_.size() == kMaxPickleValues) too_large("places in its memo", kMaxPickleValues);
    memo_[key] = &top();
  }

  // False at the end.
  bool step() {
    const auto opcode = static_cast<uint8_t>(take(1)[0]);
    switch (opcode) {
      case kProto:
        if (number(1) != 2) damaged("its protocol is not 2, torch.save's own");
        return true;
      case kStop:
        return false;
      case kMark:
        spend(1);
        marks_.push_back(stack_.size());
        return true;
      case kBinGet:
        get(number(1));
        return true;
      case kLongBinGet:
        get(number(4));
        return true;
      case kBinPut:
        put(number(1));
        return true;
      case kLongBinPut:
        put(number(4));
        return true;
      default:
        if (!scalar(opcode) && !container(opcode) && !object(opcode)) {
          damaged(fmt::format("opcode {:#04x}, which torch.save does not write", opcode));
        }
        return true;
    }
  }

  // Numbers, texts and None: false if the opcode is none of theirs.
  bool scalar(uint8_t opcode) {
    switch (opcode) {
      case kNone:
        push(Kind::kNone);
        return true;
      case kNewTrue:
      case kNewFalse:
        push_integer(opcode == kNewTrue ? 1 : 0, Kind::kBool);
        return true;
      case kBinInt:
        push_integer(static_cast<int32_t>(number(4)));
        return true;
      case kBinInt1:
        push_integer(static_cast<int64_t>(number(1)));
        return true;
      case kBinInt2:
        push_integer(static_cast<int64_t>(number(2)));
        return true;
      case kLong1:
        long_integer();
        return true;
      case kBinFloat:
        real();
        return true;
      case kBinUnicode: {
        const std::string_view text = take(number(4));
        push(Kind::kString).text = text;
        return true;
      }
      default:
        return false;
    }
  }

  bool container(uint8_t opcode) {
    switch (opcode) {
      case kEmptyList:
        push(Kind::kList);
        return true;
      case kEmptyDict:
        push(Kind::kDict);
        return true;
      case kEmptyTuple:
      case kTuple1:
      case kTuple2:
      case kTuple3:
        push_tuple(opcode == kEmptyTuple ? 0 : opcode - kTuple1 + 1U);
        return true;
      case kTuple: {
        std::vector<const PickleValue*> items = pop_to_mark();
        push(Kind::kTuple).items = std::move(items);
        return true;
      }
      case kAppend: {
        const PickleValue& item = pop();
        extend(Kind::kList, {&item});
        return true;
      }
      case kAppends:
        extend(Kind::kList, pop_to_mark());
        return true;
      case kSetItem: {
        const PickleValue& value = pop();
        const PickleValue& key = pop();
        extend(Kind::kDict, {&key, &value});
        return true;
      }
      case kSetItems:
        extend(Kind::kDict, pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  bool object(uint8_t opcode) {
    switch (opcode) {
      case kGlobal:
        global();
        return true;
      case kNewObj:
        new_object();
        return true;
      case kReduce:
        reduce();
        return true;
      case kBuild:
        build();
        return true;
      case kBinPersId:
        storage();
        return true;
      default:
        return false;
    }
  }

  std::string_view bytes_;
  const std::string& path_;
  size_t at_ = 0;
  PickleTree tree_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  size_t items_ = 0;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

namespace {

// Depth first, on a stack of its own and each value once: the pickle may be built to overflow a recursive visit, or to
// hold a value on more paths than can be walked.
void check_nesting(const PickleValue& root, const std::string& path) {
  struct Visit {
    const PickleValue* value;
    size_t next;   // item to go into
    size_t depth;  // of the items so far
  };
  constexpr size_t kOpen = 0;
  std::unordered_map<const PickleValue*, size_t> depths{{&root, kOpen}};
  std::vector<Visit> open{{&root, 0, 0}};
  while (!open.empty()) {
    Visit& visit = open.back();
    if (visit.next < visit.value->items.size()) {
      const PickleValue* item = visit.value->items[visit.next++];
      const auto [known, is_new] = depths.try_emplace(item, kOpen);
      if (is_new) {
        open.push_back({item, 0, 0});
      } else if (known->second == kOpen) {
        throw DataError(path + ": its pickle holds a value that holds itself");
      } else {
        visit.depth = std::max(visit.depth, known->second);
      }
      continue;
    }
    const size_t depth = visit.depth + 1;
    if (depth > kMaxPickleDepth) {
      throw DataError(
          fmt::format("{}: its pickle is nested deeper than {} levels: save the tensors alone", path, kMaxPickleDepth));
    }
    depths[visit.value] = depth;
    open.pop_back();
    if (!open.empty()) open.back().depth = std::max(open.back().depth, depth);
  }
}

}  // namespace

PickleTree read_pickle(std::string_view bytes, const std::string& path) {
  PickleTree tree = Unpickler(bytes, path).run();
  check_nesting(tree.root(), path);
  return tree;
}

const PickleValue* find_value(const PickleValue& dict, const std::string& key) {
  const PickleValue* found = nullptr;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    if (dict.items[i]->kind == Kind::kString && dict.items[i]->text == key) found = dict.items[i + 1];
  }
  return found;
}

}  // namespace muster
