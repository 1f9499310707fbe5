package org.attn4j.torch;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.engine.Engine;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.repository.zoo.Criteria;
import ai.djl.translate.NoopTranslator;
import java.nio.file.Path;

/**
 * A program of DJL that loads a model and runs it. It names no class of attn4j but to print the
 * counts at the end, which it does only if it is told to.
 */
final class DjlProgram {
  private DjlProgram() {}

  public static void main(String[] arguments) throws Exception {
    try (Model model = load(Path.of(arguments[0]));
        Predictor<NDList, NDList> predictor = model.newPredictor(new NoopTranslator());
        NDManager manager = NDManager.newBaseManager("PyTorch")) {
      System.out.println("libtorch " + Engine.getEngine("PyTorch").getVersion());
      run(predictor, manager, DataType.FLOAT16, 3);
      run(predictor, manager, DataType.FLOAT32, 1);
    }
    if (Boolean.getBoolean("printCounts")) {
      System.out.println("counts: " + TorchHook.counts());
    }
  }

  /** By criteria, as most programs do, or past DJL's zoo, which asks no service. */
  private static Model load(Path file) throws Exception {
    if (Boolean.getBoolean("pastTheZoo")) {
      Model model = Model.newInstance("two", Device.cpu(), "PyTorch");
      model.load(file.getParent(), "two.pt");
      return model;
    }
    Criteria<NDList, NDList> criteria =
        Criteria.builder()
            .setTypes(NDList.class, NDList.class)
            .optModelPath(file)
            .optEngine("PyTorch")
            .optDevice(Device.cpu())
            .optTranslator(new NoopTranslator())
            .build();
    return criteria.loadModel();
  }

  private static void run(
      Predictor<NDList, NDList> predictor, NDManager manager, DataType type, int times)
      throws Exception {
    NDArray q = values(manager, 0.37f, 33).toType(type, false);
    NDArray k = values(manager, 0.73f, 47).toType(type, false);
    float last = 0;
    for (int i = 0; i < times; i++) {
      NDArray out = predictor.predict(new NDList(q, k, k)).singletonOrThrow();
      last = out.toType(DataType.FLOAT32, false).square().sum().getFloat();
    }
    System.out.println(type + " sum of squares " + last);
  }

  private static NDArray values(NDManager manager, float step, int rows) {
    return manager.arange(2 * 4 * rows * 64f).reshape(2, 4, rows, 64).mul(step).sin();
  }
}
