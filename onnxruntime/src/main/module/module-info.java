/** Serves MultiHeadAttention in ONNX Runtime's sessions. */
@SuppressWarnings("requires-transitive-automatic") // ONNX Runtime's JAR has no descriptor
module org.attn4j.onnxruntime {
  requires transitive com.microsoft.onnxruntime;
  requires transitive org.attn4j.torch;

  exports org.attn4j.onnxruntime;
}
