// A libtorch from before the stable C ABI could register kernels (2.5.1 has the C++ functions, but neither
// aoti_torch_library_init_impl nor aoti_torch_library_impl): all that the hook asks of it is there but these.
extern "C" __attribute__((visibility("default"))) int aoti_torch_get_dim(void*, long*) { return 1; }
