# What all of Muster's targets share.

add_library(muster_options INTERFACE)
target_compile_options(muster_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wswitch-enum;-Wconversion;-Werror;-ftree-vectorize;-fno-math-errno;-fno-trapping-math>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
target_include_directories(muster_options INTERFACE ${PROJECT_SOURCE_DIR})
target_include_directories(muster_options SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/generated)
# Without OpenMP at::parallel_for silently runs on one thread. By flag, not by path: LibTorch brings its own libgomp.
target_compile_options(muster_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)
target_link_options(muster_options INTERFACE ${OpenMP_CXX_FLAGS})
# What makes a bug of ours harder to use for whoever made the file that met it. Sanitizers bring their own.
if(NOT MUSTER_SANITIZE)
  target_compile_options(muster_options INTERFACE
    "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-fPIE;-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3;-fstack-protector-strong;-fstack-clash-protection;-fcf-protection>")
  target_link_options(muster_options INTERFACE $<$<CONFIG:Release>:-pie> LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
endif()

# muster_library(NAME [DEPENDS targets...]): a static library of the folder's .cpp files and .proto files.
# Sources are found by name, so that a new loss or data set needs no line here.
function(muster_library name)
  cmake_parse_arguments(arg "" "" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$|_cuda\\.cpp$")  # GPU code: MusterCuda.cmake
  file(GLOB protos CONFIGURE_DEPENDS *.proto)
  if(NOT sources AND NOT protos)
    file(WRITE ${PROJECT_BINARY_DIR}/empty_${name}.cpp "")
    set(sources ${PROJECT_BINARY_DIR}/empty_${name}.cpp)
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC ${arg_DEPENDS} PRIVATE muster_options)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  foreach(proto ${protos})
    file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR} ${proto})
    string(REGEX REPLACE "proto$" "pb" stem ${PROJECT_BINARY_DIR}/generated/${path})
    get_filename_component(folder ${stem} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(OUTPUT ${stem}.cc ${stem}.h
      COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR} --cpp_out=${PROJECT_BINARY_DIR}/generated ${proto}
      DEPENDS ${proto} VERBATIM)
    set_source_files_properties(${stem}.cc PROPERTIES COMPILE_OPTIONS -w)
    target_sources(${name} PRIVATE ${stem}.cc)
    target_include_directories(${name} SYSTEM PUBLIC ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(${name} PUBLIC protobuf::libprotobuf)
  endforeach()
endfunction()

# muster_test(FOLDER LINKS...): one GoogleTest program of tests/FOLDER/*_test.cpp; each case is a CTest test. Those with
# Slow in their names get the label slow, which launch/test.sh leaves out unless --full is given.
function(muster_test folder)
  string(REPLACE "/" "_" name ${folder})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE muster_options ${ARGN} muster_test_support GTest::gmock)
  set(label unit)
  if(folder STREQUAL fault)
    set(label fault)
  endif()
  gtest_discover_tests(${name}_test TEST_PREFIX ${name}. TEST_FILTER "-*Slow*" TEST_LIST ${name}_tests
    DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600 LABELS ${label})
  gtest_discover_tests(${name}_test TEST_PREFIX ${name}. TEST_FILTER "*Slow*" TEST_LIST ${name}_slow_tests
    DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 3600 LABELS slow)
endfunction()

# muster_mpi_test(NAME SOURCE RANKS... LINKS...): a program under mpirun, once for each world size.
function(muster_mpi_test name source)
  cmake_parse_arguments(arg "" "" "RANKS;LINKS" ${ARGN})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE muster_options ${arg_LINKS} muster_test_support GTest::gmock)
  foreach(ranks ${arg_RANKS})
    add_test(NAME mpi.${name}.${ranks} COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe -n ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(mpi.${name}.${ranks} PROPERTIES LABELS mpi TIMEOUT 600 PROCESSORS 2
      ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMP_NUM_THREADS=1;OMPI_MCA_rmaps_base_oversubscribe=1")
  endforeach()
endfunction()

# muster_gpu_test(NAME SOURCE [RANKS...]): a program that needs a GPU: under mpirun, once for each world size, or as one
# process that starts its jobs itself. A build without CUDA has the tests too, and they say why they are skipped.
function(muster_gpu_test name source)
  cmake_parse_arguments(arg "" "" "RANKS" ${ARGN})
  set(skipped "")
  if(MUSTER_CUDA)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE muster_options muster_trainer muster_test_support GTest::gmock)
    muster_with_cuda(${name})
    add_dependencies(gpu_tests ${name})
    list(JOIN LIBTORCH_CUDA_MISSING ", " missing)
    if(missing)
      set(skipped "Skipped: CUDA programs do not start here, not beside LibTorch are ${missing}")
    endif()
  endif()
  if(NOT MUSTER_CUDA OR MUSTER_CUDA STREQUAL CHECK)
    set(skipped "Skipped: CUDA is not in this build (cmake --preset cuda)")
  endif()
  if(NOT arg_RANKS)
    set(arg_RANKS alone)
  endif()
  foreach(ranks ${arg_RANKS})
    set(launcher ${MPIEXEC_EXECUTABLE} --oversubscribe -n ${ranks})
    if(ranks STREQUAL alone)
      set(launcher "")
    endif()
    if(skipped)
      add_test(NAME gpu.${name}.${ranks} COMMAND ${CMAKE_COMMAND} -E echo ${skipped})
    else()
      add_test(NAME gpu.${name}.${ranks} COMMAND ${launcher} $<TARGET_FILE:${name}>)
    endif()
    set_tests_properties(gpu.${name}.${ranks} PROPERTIES LABELS gpu TIMEOUT 600 RUN_SERIAL ON
      SKIP_REGULAR_EXPRESSION "Skipped: CUDA"
      ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMP_NUM_THREADS=1;OMPI_MCA_rmaps_base_oversubscribe=1")
  endforeach()
endfunction()

# version.h: what was built, with which libraries; commit.h: of which commit, looked up at each build and rewritten only
# when it changes.
function(muster_version_headers target)
  set(libraries "")
  set(cuda_libraries "")
  if(MUSTER_CUDA AND NOT MUSTER_CUDA STREQUAL CHECK)
    set(cuda_libraries "CUDA ${CUDAToolkit_VERSION}" "NCCL ${NCCL_VERSION}")
  endif()
  foreach(library "LibTorch ${LIBTORCH_VERSION}" "HDF5 ${HDF5_VERSION}" "Protobuf ${Protobuf_VERSION}" "glog ${glog_VERSION}"
      "fmt ${fmt_VERSION}" "libjpeg-turbo ${turbojpeg_VERSION}" "libpng ${PNG_VERSION_STRING}" "zlib ${ZLIB_VERSION_STRING}"
      "xxHash ${xxhash_VERSION}" "utf8proc ${utf8proc_VERSION}" "nlohmann-json ${nlohmann_json_VERSION}" "CLI11 ${CLI11_VERSION}"
      "libzip ${libzip_VERSION}" "cpp-httplib ${httplib_VERSION}" ${cuda_libraries}
      "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
    string(REGEX REPLACE "^([^ ]+) (.*)$" "{\"\\1\", \"\\2\"}, " entry "${library}")
    string(APPEND libraries "${entry}")
  endforeach()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/version.h CONTENT
    "#pragma once\n#define MUSTER_VERSION \"@PROJECT_VERSION@\"\n#define MUSTER_LIBRARIES @libraries@\n" @ONLY)
  find_package(Git QUIET)
  add_custom_target(muster_commit BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/commit.h
    COMMAND ${CMAKE_COMMAND} -DGIT=${GIT_EXECUTABLE} -DSOURCE=${PROJECT_SOURCE_DIR}
      -DOUTPUT=${PROJECT_BINARY_DIR}/generated/commit.h -P ${PROJECT_SOURCE_DIR}/launch/cmake/commit.cmake)
  add_dependencies(${target} muster_commit)
endfunction()
