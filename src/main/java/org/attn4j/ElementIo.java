package org.attn4j;

import java.nio.ByteBuffer;

/**
 * Elements of every data type, read and written as floats. Positions and steps are in bytes.
 *
 * @param buffer in the machine's byte order
 * @param dtype of the elements
 */
record ElementIo(ByteBuffer buffer, DType dtype) {

  float read(int position) {
    return switch (dtype) {
      case FLOAT16 -> Float16Bits.toFloat(buffer.getShort(position));
      case BFLOAT16 -> BFloat16Bits.toFloat(buffer.getShort(position));
      case FLOAT32 -> buffer.getFloat(position);
      case INT32 -> buffer.getInt(position);
      case INT8 -> buffer.get(position);
    };
  }

  void write(int position, float value) {
    switch (dtype) {
      case FLOAT16 -> buffer.putShort(position, Float16Bits.fromFloat(value));
      case BFLOAT16 -> buffer.putShort(position, BFloat16Bits.fromFloat(value));
      case FLOAT32 -> buffer.putFloat(position, value);
      case INT32 -> buffer.putInt(position, (int) Math.rint(value));
      case INT8 -> buffer.put(position, (byte) Math.rint(value));
    }
  }

  /**
   * {@code count} elements, {@code step} bytes apart. The 16-bit types have loops of their own for
   * speed.
   */
  void read(int position, int step, int count, float[] target) {
    switch (dtype) {
      case FLOAT16 -> {
        for (int i = 0; i < count; i++) {
          target[i] = Float16Bits.toFloat(buffer.getShort(position + i * step));
        }
      }
      case BFLOAT16 -> {
        for (int i = 0; i < count; i++) {
          target[i] = BFloat16Bits.toFloat(buffer.getShort(position + i * step));
        }
      }
      default -> {
        for (int i = 0; i < count; i++) {
          target[i] = read(position + i * step);
        }
      }
    }
  }

  void write(int position, int step, int count, float[] source) {
    for (int i = 0; i < count; i++) {
      write(position + i * step, source[i]);
    }
  }
}
