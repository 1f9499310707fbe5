package org.attn4j.presets;

import org.attn4j.runtime.NativeLibrary;
import org.bytedeco.javacpp.ClassProperties;
import org.bytedeco.javacpp.LoadEnabled;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.presets.javacpp;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/**
 * Maps the C++ headers to Java, and has the loader open a library before the bindings.
 *
 * <p>There is no {@code extension} in the annotation on purpose. With one, JavaCPP would refuse the
 * class as soon as the process-wide property org.bytedeco.javacpp.platform.extension is set for
 * another preset ({@code -gpu} for PyTorch), and would try the last extension of the list first,
 * whatever the device.
 */
@Properties(
    inherit = javacpp.class,
    value =
        @Platform(
            value = {"linux-x86_64", "linux-arm64"},
            compiler = "cpp17",
            include = {
              "attn4j/attn4j.h",
              "attn4j/sparse.h",
              "attn4j/plan.h",
              "attn4j/site.h",
              "attn4j/device.h"
            },
            // In place of libattn4j.so: several may be open (libraries.h). '#': nothing to load.
            link = "attn4j_libraries#"),
    target = "org.attn4j.natives",
    global = "org.attn4j.natives.global.attn4j")
public class attn4j implements InfoMapper, LoadEnabled {

  @Override
  public void init(ClassProperties properties) {
    if (!Loader.isLoadLibraries()) {
      return; // the parser or the builder asks: there is nothing to choose
    }
    NativeLibrary.prepareBindings(); // the generated class may be touched before anything of ours
  }

  @Override
  public void map(InfoMap map) {
    map.put(new Info("ATTN4J_API").cppTypes().annotations().cppText(""));
    map.put(new Info("ATTN4J_ABI_VERSION").cppTypes("int").translate());
    map.put(new Info("noexcept").annotations("@NoException").cppText(""));
    // An int, not a Java enum: JavaCPP makes a new object of every enum that a function returns,
    // and a call
    // makes no garbage.
    map.put(new Info("attn4j::Status").cast().valueTypes("int"));
    for (String name :
        new String[] {
          "DType",
          "TensorLayout",
          "CausalAlignment",
          "QuantGranularity",
          "MaskType",
          "PvAccumDType",
          "AttentionFunction",
          "RefusalReason",
          "SiteMode",
          "SiteState",
          "SiteReason",
          "Precision"
        }) {
      map.put(new Info("attn4j::" + name).enumerate());
    }
    // CUDA's handles have the same Java types as in PyTorch's bindings. Only these names are used:
    // nothing of the cuda
    // preset gets loaded, so neither its natives nor a CUDA installation is needed.
    for (String name : new String[] {"CUstream_st", "CUevent_st", "CUgraphExec_st"}) {
      String type = "org.bytedeco.cuda.cudart." + name;
      map.put(new Info(name).pointerTypes(type).valueTypes(type).skip());
    }
  }
}
