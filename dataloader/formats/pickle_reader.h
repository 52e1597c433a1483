// Python's pickles as torch.save and TorchScript write them (protocol 2; docs.python.org/3/library/pickletools.html),
// read as data: no code is looked up, and the few classes that such files name stand for what they hold.
#pragma once

#include <string>
#include <string_view>

#include "dataloader/formats/pickle_value.h"

namespace muster {

// Values of one pickle and places in its memo; places in its containers and on its stack; containers within containers.
// A state_dict with its optimizer's takes some 20 values a tensor.
constexpr size_t kMaxPickleValues = size_t{1} << 18;
constexpr size_t kMaxPickleItems = 4 * kMaxPickleValues;
constexpr size_t kMaxPickleDepth = 64;

// Allowed are torch._utils._rebuild_tensor_v2 and _rebuild_parameter, torch.FloatStorage and the like, torch.Size,
// collections.OrderedDict, and TorchScript's modules (__torch__...), whose attributes become a dict's. `path` opens
// every message. DataError: any other class, which would be code to run; other opcodes; too many or too deeply nested
// values; a value that holds itself; damage. The caller caps the size of the bytes.
PickleTree read_pickle(std::string_view bytes, const std::string& path);

// The value of a dict's key; null if it has none. The last of several wins, as in Python.
const PickleValue* find_value(const PickleValue& dict, const std::string& key);

}  // namespace muster
