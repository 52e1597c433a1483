// The little of HDF5 that stores and imports use, by RAII: contiguous datasets in groups.
//
// libhdf5 is not thread-safe: every call of it is made in here, under one mutex. Errors are DataErrors of one line; the
// library's own stack is never printed. Filters, plugins, external or soft links and external or virtual storage are
// refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace muster {

// Little-endian numbers, as the file holds them.
enum class Hdf5Type { kUint8, kInt32, kInt64, kUint64, kFloat16, kFloat32 };

template <typename T>
constexpr Hdf5Type hdf5_type();
template <>
constexpr Hdf5Type hdf5_type<uint8_t>() {
  return Hdf5Type::kUint8;
}
template <>
constexpr Hdf5Type hdf5_type<int32_t>() {
  return Hdf5Type::kInt32;
}
template <>
constexpr Hdf5Type hdf5_type<int64_t>() {
  return Hdf5Type::kInt64;
}
template <>
constexpr Hdf5Type hdf5_type<uint64_t>() {
  return Hdf5Type::kUint64;
}

// Where a dataset's data lies in the file.
struct Hdf5Extent {
  uint64_t begin = 0;  // 0 if the dataset is empty
  uint64_t bytes = 0;
};

struct Hdf5Array {
  std::vector<uint64_t> shape;  // C order
  Hdf5Extent extent;
};

class Hdf5Reader {
 public:
  // file_bytes: the length of the file, which no dataset may exceed. Damaged structure can crash libhdf5: the caller of
  // a store's has verified the file's hash, who takes another's file trusts its maker.
  Hdf5Reader(const std::string& path, uint64_t file_bytes);
  ~Hdf5Reader();
  Hdf5Reader(const Hdf5Reader&) = delete;
  Hdf5Reader& operator=(const Hdf5Reader&) = delete;

  // `name` is group/dataset.
  Hdf5Extent extent(const std::string& name, Hdf5Type type) const;
  // Of a table, which must have this shape.
  Hdf5Extent table_extent(const std::string& name, Hdf5Type type, uint64_t rows, uint64_t columns) const;

  // Of a dataset of any shape, none of whose lengths is 0.
  Hdf5Array array(const std::string& name, Hdf5Type type) const;
  bool has(const std::string& name) const;

  // The whole dataset, which must have `count` elements of T.
  template <typename T>
  std::vector<T> read(const std::string& name, uint64_t count) const {
    check_count(name, hdf5_type<T>(), count);
    std::vector<T> values(count);
    read_into(name, hdf5_type<T>(), values.data());
    return values;
  }
  // The same for a dataset of bytes, of whatever length.
  std::string read_bytes(const std::string& name) const;

 private:
  void check_count(const std::string& name, Hdf5Type type, uint64_t count) const;
  void read_into(const std::string& name, Hdf5Type type, void* values) const;

  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The same calls give the same bytes: no times are recorded.
class Hdf5Writer {
 public:
  // A new file. Disk space for reserve_bytes is taken first where the file system can do so, since a disk that fills up
  // inside libhdf5 is hard to recover from.
  Hdf5Writer(const std::string& path, uint64_t reserve_bytes);
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  void create_group(const std::string& name);

  template <typename T>
  void write(const std::string& name, const std::vector<T>& values) {
    write_data(name, hdf5_type<T>(), values.data(), values.size());
  }
  void write_bytes(const std::string& name, const std::string& bytes) {
    write_data(name, Hdf5Type::kUint8, bytes.data(), bytes.size());
  }
  // A dataset of bytes whose data the caller writes into the file after close(), at the place returned.
  Hdf5Extent reserve_bytes(const std::string& name, uint64_t count);
  // The same for a table of this shape.
  Hdf5Extent reserve_table(const std::string& name, Hdf5Type type, uint64_t rows, uint64_t columns);

  void close();

 private:
  void write_data(const std::string& name, Hdf5Type type, const void* data, uint64_t count);

  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
