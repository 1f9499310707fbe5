package org.attn4j.onnxruntime;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes ONNX models with one node com.microsoft.MultiHeadAttention, as bytes of Protocol Buffers.
 * The numbers of fields are those of onnx.proto.
 */
final class OnnxModel {
  static final int FLOAT = 1;
  static final int INT32 = 6;
  static final int FLOAT16 = 10;

  private static final long IR_VERSION = 8;
  private static final long OPSET = 17;
  private static final int BYTES = 2; // wire types
  private static final int FIXED32 = 5;

  private final Message graph = new Message();
  private final Message attention = new Message();
  private final List<String> outputs = new ArrayList<>();
  private final int type;

  private OnnxModel(int type) {
    this.type = type;
  }

  /**
   * A model whose node computes in a type. In FLOAT16 it is fed with FLOAT all the same, and gives
   * FLOAT: casts stand before and after the node.
   */
  static OnnxModel in(int type, int heads) {
    OnnxModel model = new OnnxModel(type);
    return model.attribute("num_heads", heads);
  }

  OnnxModel attribute(String name, long value) {
    attention.add(5, new Message().text(1, name).number(3, value).number(20, 2));
    return this;
  }

  OnnxModel attribute(String name, float value) {
    attention.add(5, new Message().text(1, name).fixed(2, value).number(20, 1));
    return this;
  }

  /** An input of the node, fed by the program; "" for one that is left out. */
  OnnxModel input(String name, int elements, long... sizes) {
    if (name.isEmpty()) {
      attention.text(1, "");
      return this;
    }
    graph.add(11, tensor(name, elements, sizes));
    boolean cast = elements == FLOAT && type != FLOAT;
    if (cast) {
      graph.add(1, cast(name, name + "_cast", type));
    }
    attention.text(1, cast ? name + "_cast" : name);
    return this;
  }

  OnnxModel output(String name, long... sizes) {
    boolean cast = type != FLOAT;
    attention.text(2, cast ? name + "_cast" : name);
    graph.add(12, tensor(name, FLOAT, sizes));
    outputs.add(name);
    return this;
  }

  byte[] bytes() {
    graph.add(
        1, attention.text(3, "attention").text(4, "MultiHeadAttention").text(7, "com.microsoft"));
    if (type != FLOAT) {
      outputs.forEach(name -> graph.add(1, cast(name + "_cast", name, FLOAT)));
    }
    return new Message()
        .number(1, IR_VERSION)
        .add(7, graph.text(2, "graph"))
        .add(8, new Message().text(1, "").number(2, OPSET))
        .add(8, new Message().text(1, "com.microsoft").number(2, 1))
        .bytes();
  }

  private static Message cast(String from, String to, int elements) {
    return new Message()
        .text(1, from)
        .text(2, to)
        .text(4, "Cast")
        .add(5, new Message().text(1, "to").number(3, elements).number(20, 2));
  }

  private static Message tensor(String name, int elements, long... sizes) {
    Message shape = new Message();
    for (long size : sizes) {
      shape.add(1, new Message().number(1, size));
    }
    Message tensorType = new Message().number(1, elements).add(2, shape);
    return new Message().text(1, name).add(2, new Message().add(1, tensorType));
  }

  private static final class Message {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    private void varint(long value) {
      long rest = value;
      for (; (rest & ~0x7fL) != 0; rest >>>= 7) {
        out.write((int) (rest & 0x7f | 0x80));
      }
      out.write((int) rest);
    }

    Message number(int field, long value) {
      varint(field << 3);
      varint(value);
      return this;
    }

    Message fixed(int field, float value) {
      varint(field << 3 | FIXED32);
      out.writeBytes(
          ByteBuffer.allocate(Float.BYTES).order(ByteOrder.LITTLE_ENDIAN).putFloat(value).array());
      return this;
    }

    Message text(int field, String value) {
      return bytes(field, value.getBytes(StandardCharsets.UTF_8));
    }

    Message add(int field, Message message) {
      return bytes(field, message.bytes());
    }

    private Message bytes(int field, byte[] value) {
      varint(field << 3 | BYTES);
      varint(value.length);
      out.writeBytes(value);
      return this;
    }

    byte[] bytes() {
      return out.toByteArray();
    }
  }
}
