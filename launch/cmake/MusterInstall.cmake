# cmake --install: PREFIX/bin/muster and muster-supervise, PREFIX/share/muster (presets and data files) and, where LibTorch
# was unpacked by launch/setup.sh, the part of it that runs, so that the tree may go. A LibTorch given by -DLIBTORCH stays
# where it is, and so does any that is used with CUDA.
include(GNUInstallDirs)
install(TARGETS muster RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS launch/supervise.sh DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME muster-supervise)
install(DIRECTORY ${PROJECT_BINARY_DIR}/share/ DESTINATION ${CMAKE_INSTALL_DATADIR}/muster)
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/muster/configs FILES_MATCHING PATTERN *.textproto)
install(FILES LICENSE NOTICE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

get_filename_component(libtorch_root ${LIBTORCH} DIRECTORY)
if(EXISTS ${libtorch_root}/complete AND NOT MUSTER_CUDA STREQUAL ON)  # launch/setup.sh's mark
  set(private ${CMAKE_INSTALL_LIBDIR}/muster)
  install(FILES ${LIBTORCH}/lib/libtorch_cpu.so ${LIBTORCH}/lib/libc10.so ${LIBTORCH}/lib/libgomp.so.1
    DESTINATION ${private}/torch/lib)
  # libtorch_cpu.so finds these beside itself, by its own run path.
  install(DIRECTORY ${libtorch_root}/nvidia/cu13/lib/ DESTINATION ${private}/nvidia/cu13/lib FILES_MATCHING
    PATTERN "libcudart.so*" PATTERN "libcupti.so*")
  set_target_properties(muster PROPERTIES INSTALL_RPATH "$ORIGIN/../${private}/torch/lib")
else()
  set_target_properties(muster PROPERTIES INSTALL_RPATH ${LIBTORCH}/lib)
endif()
