#include "ort_abi.h"

#include <type_traits>

namespace attn4j_torch::ort {

bool open(const ApiBase* base, Api* api) {
  void* const* table = base == nullptr ? nullptr : base->api(kVersion);
  if (table == nullptr) return false;
  const auto take = [table](auto& function, int place) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(table[place]);
  };
  take(api->create_status, 0);
  take(api->error_message, 2);
  take(api->create_domain, 26);
  take(api->domain_add, 27);
  take(api->add_domain, 28);
  take(api->data, 51);
  take(api->tensor_info, 55);
  take(api->element_type, 60);
  take(api->rank, 61);
  take(api->sizes, 62);
  take(api->shape, 65);
  take(api->memory_id, 72);
  take(api->allocate, 75);
  take(api->free, 76);
  take(api->float_attribute, 85);
  take(api->int_attribute, 86);
  take(api->input, 90);
  take(api->output, 91);
  take(api->release_status, 93);
  take(api->release_type_info, 98);
  take(api->release_shape, 99);
  take(api->release_allocator, 132);
  take(api->stream, 193);
  take(api->memory_info, 194);
  take(api->create_attribute, 211);
  take(api->release_attribute, 212);
  take(api->create_op, 213);
  take(api->invoke_op, 214);
  take(api->release_op, 215);
  take(api->node_inputs, 230);
  take(api->node_outputs, 231);
  take(api->input_type, 234);
  take(api->allocator, 253);
  return true;
}

}  // namespace attn4j_torch::ort
