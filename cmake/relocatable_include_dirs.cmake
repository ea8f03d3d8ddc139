# Exported targets should not refer to directories that exist only on the machine that built them.
# On a ROS install this does no harm, but with the ROS wheels from PyPI it makes CMake fail in two
# ways. Call relocatable_include_dirs() after rosidl_generate_interfaces() to fix both:
# - Some wheels (service_msgs and rmw_dds_common among them) export such directories, and CMake
#   rejects imported targets with include directories that do not exist. These are removed.
# - Our own generated Python library exports NumPy's include directory, and CMake refuses to export
#   a path inside the source tree, which contains .venv. It is restricted to our own build.
function(relocatable_include_dirs)
  get_directory_property(imported IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT dirs)
      continue()
    endif()
    set(existing "")
    foreach(dir IN LISTS dirs)
      if(dir MATCHES "^\\$<" OR IS_DIRECTORY "${dir}")  # generator expressions are kept
        list(APPEND existing "${dir}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${existing}")
  endforeach()

  set(generated ${PROJECT_NAME}__rosidl_generator_py)
  get_target_property(dirs ${generated} INTERFACE_INCLUDE_DIRECTORIES)
  list(TRANSFORM dirs REPLACE "^/.*" "$<BUILD_INTERFACE:\\0>")
  set_target_properties(${generated} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${dirs}")
endfunction()
