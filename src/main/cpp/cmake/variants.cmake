# Expands variants.list: one source file per (template, head dimension, element type), one kernel table per architecture.

set(VARIANT_DTYPE_f16 kFloat16)
set(VARIANT_DTYPE_bf16 kBFloat16)

# "MmaInt8F16" -> "mma_int8_f16"
function(variant_snake_case name result)
  string(REGEX REPLACE "([a-z0-9])([A-Z])" "\\1_\\2" name "${name}")
  string(TOLOWER "${name}" name)
  set(${result} ${name} PARENT_SCOPE)
endfunction()

# Writes one instance and gives back its entry function and file name.
function(variant_write_instance template header head_dim dtype spill_bytes hidden_waits entry_result file_result)
  variant_snake_case(${template} family)
  set(entry "entry_${family}_d${head_dim}_${dtype}")
  set(file "${CMAKE_BINARY_DIR}/instances/${family}_d${head_dim}_${dtype}.cu")
  if(NOT DEFINED VARIANT_DTYPE_${dtype})
    message(FATAL_ERROR "variants.list: unknown dtype '${dtype}' for ${template}; known: f16, bf16")
  endif()
  set(dtype_constant ${VARIANT_DTYPE_${dtype}})
  file(CONFIGURE OUTPUT "${file}" @ONLY CONTENT [=[
// Generated from variants.list.
// spill-bytes-allowed: @spill_bytes@
// waits-behind-exponentials: @hidden_waits@
#include "@header@"

namespace attn4j {

KernelEntry @entry@() {
  return @template@<@head_dim@, DType::@dtype_constant@>::entry("@family@/d@head_dim@/@dtype@");
}

}  // namespace attn4j
]=])
  set(${entry_result} ${entry} PARENT_SCOPE)
  set(${file_result} ${file} PARENT_SCOPE)
endfunction()

# The sources of one architecture's library: the instances that variants.list gives to `family`, and their table.
function(variant_sources list_file family result)
  file(STRINGS "${list_file}" lines)
  set(sources "")
  set(declarations "")
  set(calls "")
  set(head_dim_checks "")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "#.*" "" line "${line}")
    string(STRIP "${line}" line)
    if(line STREQUAL "")
      continue()
    endif()
    string(REGEX REPLACE "[ \t]+" ";" columns "${line}")
    list(LENGTH columns column_count)
    if(column_count LESS 5 OR column_count GREATER 7)
      message(FATAL_ERROR "variants.list: 5 to 7 columns expected: ${line}")
    endif()
    list(GET columns 0 template)
    list(GET columns 1 header)
    list(GET columns 2 head_dims)
    list(GET columns 3 dtypes)
    list(GET columns 4 families)
    set(spill_bytes 0)
    if(column_count GREATER 5)
      list(GET columns 5 spill_bytes)
    endif()
    set(hidden_waits 0)
    if(column_count GREATER 6)
      list(GET columns 6 hidden_waits)
    endif()
    string(REPLACE "," ";" head_dims "${head_dims}")
    string(REPLACE "," ";" dtypes "${dtypes}")
    string(REPLACE "," ";" families "${families}")
    if(NOT families STREQUAL "*" AND NOT family IN_LIST families)
      continue()
    endif()
    foreach(head_dim IN LISTS head_dims)
      foreach(dtype IN LISTS dtypes)
        variant_write_instance(${template} ${header} ${head_dim} ${dtype} ${spill_bytes} ${hidden_waits} entry file)
        list(APPEND sources "${file}")
        string(APPEND declarations "KernelEntry ${entry}();\n")
        string(APPEND calls "      ${entry}(),\n")
        string(APPEND head_dim_checks "static_assert(HeadDimTraits<${head_dim}>::kPreparedRows > 0);\n")
        if(NOT template MATCHES "Exact")
          string(APPEND head_dim_checks "static_assert(QuantisedHeadDims::has(${head_dim}),\n"
            "              \"variants.list has ${template} for head_dim ${head_dim}, QuantisedHeadDims of host/head_dim.h hasn't\");\n")
        endif()
      endforeach()
    endforeach()
  endforeach()
  set(table "${CMAKE_BINARY_DIR}/instances/kernel_table_family${family}.cpp")
  file(CONFIGURE OUTPUT "${table}" @ONLY CONTENT [=[
// Generated from variants.list.
#include "host/head_dim.h"

namespace attn4j {

@head_dim_checks@
@declarations@
const KernelEntry* kernel_table(int32_t* count) {
  static const KernelEntry kTable[] = {
@calls@  };
  *count = static_cast<int32_t>(sizeof(kTable) / sizeof(kTable[0]));
  return kTable;
}

}  // namespace attn4j
]=])
  set(${result} ${sources} ${table} PARENT_SCOPE)
endfunction()
