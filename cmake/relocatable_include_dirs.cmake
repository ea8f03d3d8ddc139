# Exported targets should not name directories that exist only on the machine that built them. On a
# ROS install that goes unnoticed; with the ROS wheels from PyPI it stops CMake in two ways, which
# relocatable_include_dirs(), called after rosidl_generate_interfaces(), repairs:
# - Some wheels (service_msgs and rmw_dds_common among them) export such directories, and CMake
#   refuses imported targets with directories that do not exist. They are dropped.
# - Our own generated Python library exports NumPy's headers, and CMake refuses to export a path
#   inside the source tree, where .venv lies. They are kept to our own build.
function(relocatable_include_dirs)
  get_directory_property(imported IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    get_target_property(dirs ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT dirs)
      continue()
    endif()
    set(existing "")
    foreach(dir IN LISTS dirs)
      if(dir MATCHES "^\\$<" OR IS_DIRECTORY "${dir}")  # generator expressions stay as they are
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
