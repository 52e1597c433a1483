#include "dataloader/hdf5_file.h"

#include <fcntl.h>
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <utility>

#include "dataloader/formats/file.h"
#include "launch/error.h"

namespace muster {
namespace {

// Large data starts on a page, so that it can be mapped or read directly.
constexpr hsize_t kAlignment = 4096;
constexpr hsize_t kAlignFrom = 65536;

std::unique_lock<std::mutex> lock_hdf5() {
  static std::mutex mutex;
  std::unique_lock<std::mutex> lock(mutex);
  static const bool prepared = [] {
    H5dont_atexit();  // files are closed by their owners; after a full disk the library's own exit would loop
    H5open();
    H5PLset_loading_state(0);
    return H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  }();
  if (!prepared) throw std::logic_error("libhdf5 could not be initialised");
  return lock;
}

// An HDF5 identifier with the call that closes it.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
    if (id < 0) throw DataError(what);
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }
  hid_t release() { return std::exchange(id_, -1); }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

void check(bool good, const std::string& message) {
  if (!good) throw DataError(message);
}

// IEEE 754 binary16, which libhdf5 has no name for; h5py makes it in the same way.
hid_t float16_type() {
  static const hid_t type = [] {
    const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(half, 15, 10, 5, 0, 10);
    H5Tset_size(half, 2);
    H5Tset_ebias(half, 15);
    return half;
  }();
  return type;
}

hid_t file_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint8:
      return H5T_STD_U8LE;
    case Hdf5Type::kInt32:
      return H5T_STD_I32LE;
    case Hdf5Type::kInt64:
      return H5T_STD_I64LE;
    case Hdf5Type::kUint64:
      return H5T_STD_U64LE;
    case Hdf5Type::kFloat16:
      return float16_type();
    case Hdf5Type::kFloat32:
      return H5T_IEEE_F32LE;
  }
  throw std::logic_error("unknown Hdf5Type");
}

const char* type_name(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kUint8:
      return "uint8";
    case Hdf5Type::kInt32:
      return "int32";
    case Hdf5Type::kInt64:
      return "int64";
    case Hdf5Type::kUint64:
      return "uint64";
    case Hdf5Type::kFloat16:
      return "float16";
    case Hdf5Type::kFloat32:
      return "float32";
  }
  throw std::logic_error("unknown Hdf5Type");
}

// Every part of the path is a hard link: nothing outside the file is followed.
void check_links(hid_t file, const std::string& name, const std::string& where) {
  for (size_t end = name.find('/');; end = name.find('/', end + 1)) {
    const std::string prefix = name.substr(0, end);
    H5L_info_t link{};
    check(H5Lget_info(file, prefix.c_str(), &link, H5P_DEFAULT) >= 0, where + " is missing");
    check(link.type == H5L_TYPE_HARD, where + " is a link to elsewhere, which is refused");
    if (end == std::string::npos) return;
  }
}

constexpr int kMostDimensions = 8;

// One dataset, open, found to be a plain one.
struct Dataset {
  // dimensions: so many are wanted; 0 for any.
  Dataset(hid_t file, const std::string& name, Hdf5Type type, uint64_t file_bytes, const std::string& where,
          int dimensions)
      : id((check_links(file, name, where), H5Dopen2(file, name.c_str(), H5P_DEFAULT)), H5Dclose,
           where + " is no dataset") {
    const Handle storage(H5Dget_create_plist(id), H5Pclose, where + " cannot be read");
    check(H5Pget_layout(storage) == H5D_CONTIGUOUS && H5Pget_nfilters(storage) == 0 &&
              H5Pget_external_count(storage) == 0,
          where + " is not contiguous and unfiltered; make it so with h5repack -f NONE -l CONTI OLD NEW");
    const Handle stored(H5Dget_type(id), H5Tclose, where + " cannot be read");
    check(H5Tequal(stored, file_type(type)) > 0, where + " has the wrong type, not " + type_name(type));
    const Handle space(H5Dget_space(id), H5Sclose, where + " cannot be read");
    const int found = H5Sget_simple_extent_ndims(space);
    check(found > 0 && found <= kMostDimensions && (dimensions == 0 || found == dimensions),
          where + (dimensions == 1   ? " is not one-dimensional"
                   : dimensions == 2 ? " is not a table"
                                     : " is no array of 1 to 8 dimensions"));
    hsize_t size[kMostDimensions] = {};
    check(H5Sget_simple_extent_dims(space, size, nullptr) == found, where + " cannot be read");
    shape.assign(size, size + found);
    bool sane = true;
    for (const uint64_t length : shape) sane &= !__builtin_mul_overflow(count, length, &count);
    check(sane, where + " does not lie within the file");
    if (count == 0) return;
    const uint64_t width = H5Tget_size(stored);
    extent = {H5Dget_offset(id), count * width};
    check(count <= file_bytes / width && H5Dget_storage_size(id) == extent.bytes &&
              extent.begin <= file_bytes - extent.bytes,
          where + " does not lie within the file");
  }

  Handle id;
  std::vector<uint64_t> shape;
  uint64_t count = 1;  // of elements
  Hdf5Extent extent;
};

}  // namespace

class Hdf5Reader::Impl {
 public:
  Impl(const std::string& path, uint64_t bytes) : path_(path), bytes_(bytes) {
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "libhdf5 is out of memory");
    H5Pset_file_locking(access, false, true);  // network file systems often lack locks; a finished store never changes
    file_ = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
    check(file_ >= 0, path + " cannot be opened as HDF5; is it damaged or another kind of file?");
  }
  ~Impl() {
    const auto lock = lock_hdf5();
    H5Fclose(file_);
  }
  std::string where(const std::string& name) const { return path_ + ": " + name; }
  Dataset open(const std::string& name, Hdf5Type type, int dimensions = 1) const {
    return {file_, name, type, bytes_, where(name), dimensions};
  }
  bool has(const std::string& name) const { return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0; }

 private:
  std::string path_;
  uint64_t bytes_;
  hid_t file_;
};

Hdf5Reader::Hdf5Reader(const std::string& path, uint64_t file_bytes) {
  const auto lock = lock_hdf5();
  impl_ = std::make_unique<Impl>(path, file_bytes);
}

Hdf5Reader::~Hdf5Reader() = default;

Hdf5Extent Hdf5Reader::extent(const std::string& name, Hdf5Type type) const {
  const auto lock = lock_hdf5();
  return impl_->open(name, type).extent;
}

Hdf5Extent Hdf5Reader::table_extent(const std::string& name, Hdf5Type type, uint64_t rows, uint64_t columns) const {
  const auto lock = lock_hdf5();
  const Dataset table = impl_->open(name, type, 2);
  check(table.shape[0] == rows && table.shape[1] == columns,
        impl_->where(name) + " has " + std::to_string(table.shape[0]) + " x " + std::to_string(table.shape[1]) +
            " elements, not " + std::to_string(rows) + " x " + std::to_string(columns));
  return table.extent;
}

Hdf5Array Hdf5Reader::array(const std::string& name, Hdf5Type type) const {
  const auto lock = lock_hdf5();
  const Dataset dataset = impl_->open(name, type, 0);
  check(dataset.count > 0, impl_->where(name) + " is empty");
  return {dataset.shape, dataset.extent};
}

bool Hdf5Reader::has(const std::string& name) const {
  const auto lock = lock_hdf5();
  return impl_->has(name);
}

void Hdf5Reader::check_count(const std::string& name, Hdf5Type type, uint64_t count) const {
  const auto lock = lock_hdf5();
  const uint64_t found = impl_->open(name, type).count;
  check(found == count,
        impl_->where(name) + " has " + std::to_string(found) + " elements, not " + std::to_string(count));
}

void Hdf5Reader::read_into(const std::string& name, Hdf5Type type, void* values) const {
  const auto lock = lock_hdf5();
  const Dataset dataset = impl_->open(name, type);
  if (dataset.count == 0) return;
  check(H5Dread(dataset.id, file_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0,
        impl_->where(name) + " cannot be read");
}

std::string Hdf5Reader::read_bytes(const std::string& name) const {
  std::string bytes(extent(name, Hdf5Type::kUint8).bytes, '\0');
  read_into(name, Hdf5Type::kUint8, bytes.data());
  return bytes;
}

class Hdf5Writer::Impl {
 public:
  Impl(const std::string& path, uint64_t reserve_bytes) : path_(path) {
    const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "libhdf5 is out of memory");
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "libhdf5 is out of memory");
    H5Pset_obj_track_times(creation, false);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_alignment(access, kAlignFrom, kAlignment);
    H5Pset_file_locking(access, false, true);
    Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose, path + " cannot be created");
    take_space(reserve_bytes);
    file_ = file.release();
  }
  ~Impl() {
    if (file_ < 0) return;
    const auto lock = lock_hdf5();
    H5Fclose(file_);
  }

  void create_group(const std::string& name) {
    const Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, "libhdf5 is out of memory");
    H5Pset_obj_track_times(creation, false);
    Handle(H5Gcreate2(file_, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose, failure(name));
  }

  Hdf5Extent write(const std::string& name, Hdf5Type type, const void* data, const std::vector<uint64_t>& shape) {
    const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "libhdf5 is out of memory");
    H5Pset_obj_track_times(creation, false);
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    const std::vector<hsize_t> sizes(shape.begin(), shape.end());
    const Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose,
                       failure(name));
    const Handle dataset(H5Dcreate2(file_, name.c_str(), file_type(type), space, H5P_DEFAULT, creation, H5P_DEFAULT),
                         H5Dclose, failure(name));
    if (std::count(shape.begin(), shape.end(), 0U) > 0) return {};
    if (data != nullptr) {
      check(H5Dwrite(dataset, file_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, failure(name));
    }
    return {H5Dget_offset(dataset), H5Dget_storage_size(dataset)};
  }

  void close() { check(H5Fclose(std::exchange(file_, -1)) >= 0, failure("end of file")); }

 private:
  std::string failure(const std::string& name) const {
    return "cannot write " + name + " to " + path_ + "; is the disk full or gone?";
  }

  void take_space(uint64_t bytes) const {
    const int descriptor = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) throw_system_error("cannot write", path_);
    const int result = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));
    const int reason = errno;
    ::close(descriptor);
    errno = reason;
    if (result != 0 && (reason == ENOSPC || reason == EDQUOT || reason == EFBIG)) {
      throw_system_error("cannot write", path_);
    }
  }

  std::string path_;
  hid_t file_ = -1;
};

Hdf5Writer::Hdf5Writer(const std::string& path, uint64_t reserve_bytes) {
  const auto lock = lock_hdf5();
  impl_ = std::make_unique<Impl>(path, reserve_bytes);
}

Hdf5Writer::~Hdf5Writer() = default;

void Hdf5Writer::create_group(const std::string& name) {
  const auto lock = lock_hdf5();
  impl_->create_group(name);
}

Hdf5Extent Hdf5Writer::reserve_bytes(const std::string& name, uint64_t count) {
  const auto lock = lock_hdf5();
  return impl_->write(name, Hdf5Type::kUint8, nullptr, {count});
}

Hdf5Extent Hdf5Writer::reserve_table(const std::string& name, Hdf5Type type, uint64_t rows, uint64_t columns) {
  const auto lock = lock_hdf5();
  return impl_->write(name, type, nullptr, {rows, columns});
}

void Hdf5Writer::write_data(const std::string& name, Hdf5Type type, const void* data, uint64_t count) {
  const auto lock = lock_hdf5();
  impl_->write(name, type, data, {count});
}

void Hdf5Writer::close() {
  const auto lock = lock_hdf5();
  impl_->close();
}

}  // namespace muster
