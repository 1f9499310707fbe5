package org.attn4j;

import java.nio.ByteBuffer;

/** Elements of every data type, read and written as floats. Positions and steps are in bytes. */
final class ElementIo {
  private ElementIo() {}

  static float read(ByteBuffer buffer, DType dtype, int position) {
    return switch (dtype) {
      case FLOAT16 -> Float16.toFloat(buffer.getShort(position));
      case BFLOAT16 -> BFloat16.toFloat(buffer.getShort(position));
      case FLOAT32 -> buffer.getFloat(position);
      case INT32 -> buffer.getInt(position);
      case INT8 -> buffer.get(position);
    };
  }

  static void write(ByteBuffer buffer, DType dtype, int position, float value) {
    switch (dtype) {
      case FLOAT16 -> buffer.putShort(position, Float16.fromFloat(value));
      case BFLOAT16 -> buffer.putShort(position, BFloat16.fromFloat(value));
      case FLOAT32 -> buffer.putFloat(position, value);
      case INT32 -> buffer.putInt(position, (int) Math.rint(value));
      case INT8 -> buffer.put(position, (byte) Math.rint(value));
    }
  }

  static void read(
      ByteBuffer buffer, DType dtype, int position, int step, int count, float[] target) {
    switch (dtype) {
      case FLOAT16 -> {
        for (int i = 0; i < count; i++) {
          target[i] = Float16.toFloat(buffer.getShort(position + i * step));
        }
      }
      case BFLOAT16 -> {
        for (int i = 0; i < count; i++) {
          target[i] = BFloat16.toFloat(buffer.getShort(position + i * step));
        }
      }
      default -> {
        for (int i = 0; i < count; i++) {
          target[i] = read(buffer, dtype, position + i * step);
        }
      }
    }
  }

  static void write(
      ByteBuffer buffer, DType dtype, int position, int step, int count, float[] source) {
    for (int i = 0; i < count; i++) {
      write(buffer, dtype, position + i * step, source[i]);
    }
  }
}
