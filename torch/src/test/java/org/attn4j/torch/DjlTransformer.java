package org.attn4j.torch;

import ai.djl.Device;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.repository.zoo.Criteria;
import ai.djl.repository.zoo.ZooModel;
import ai.djl.translate.NoopTranslator;
import java.nio.file.Path;

/**
 * Runs the file of {@link ModelFile} by DJL, on the same numbers as {@link BytedecoTransformer}.
 */
final class DjlTransformer {
  private DjlTransformer() {}

  public static void main(String[] arguments) throws Exception {
    Criteria<NDList, NDList> criteria =
        Criteria.builder()
            .setTypes(NDList.class, NDList.class)
            .optModelPath(Path.of(arguments[0]))
            .optEngine("PyTorch")
            .optDevice(Device.cpu())
            .optTranslator(new NoopTranslator())
            .build();
    try (ZooModel<NDList, NDList> model = criteria.loadModel();
        Predictor<NDList, NDList> predictor = model.newPredictor();
        NDManager manager = NDManager.newBaseManager("PyTorch")) {
      NDArray x = manager.arange(2 * 33 * 64f).reshape(2, 33, 64).mul(0.37f).sin();
      NDArray step = manager.zeros(new Shape(2, 1, 64), DataType.FLOAT16);
      NDArray out =
          predictor.predict(new NDList(x.toType(DataType.FLOAT16, false), step)).singletonOrThrow();
      float sum = out.toType(DataType.FLOAT32, false).square().sum().getFloat();
      System.out.println("sum of squares " + sum);
    }
    System.out.println("counts: " + TorchHook.counts());
  }
}
