/** attn4j in ONNX Runtime: {@link org.attn4j.onnxruntime.OrtAttention}. */
package org.attn4j.onnxruntime;
