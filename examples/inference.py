"""Classify drawings by an exported model, with Paddle Inference and without this project.

    python -c "import maml; maml.load('mine.pkl').export('exported')"
    python examples/inference.py exported drawing1.png drawing2.png

A drawing is a picture of the model's size, such as 28 x 28 pixels, with dark ink on light paper. A
model of photographs takes them in its size, as they are. `maml.FewShotClassifier` brings any
picture into this form; this program does not.
"""

import json
import sys
from pathlib import Path

import numpy as np
from paddle import inference
from PIL import Image


class Exported:
    """The function in a folder that `FewShotClassifier.export` wrote."""

    def __init__(self, folder):
        self.labels = json.loads(Path(folder, "labels.json").read_text(encoding="utf-8"))
        (program,) = [*Path(folder).glob("model.json"), *Path(folder).glob("model.pdmodel")]
        config = inference.Config(str(program), str(Path(folder, "model.pdiparams")))
        config.disable_glog_info()
        # with this optimisation PaddlePaddle 2.6.2 computes wrong squared distances
        config.delete_pass("matmul_v2_scale_fuse_pass")
        self.predictor = inference.create_predictor(config)

    def __call__(self, images):
        """Scores [N, way], or embeddings [N, D], of images [N, C, H, W] float32, see `read`."""
        name = self.predictor.get_input_names()[0]
        self.predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(images))
        self.predictor.run()
        name = self.predictor.get_output_names()[0]
        return self.predictor.get_output_handle(name).copy_to_cpu()


def read(path, form):
    """A picture as [C, H, W] float32, 0 to 1, in the form that labels.json describes."""
    size, image = form["image_size"], Image.open(path)
    if image.size != (size, size):
        sys.exit(f"{path}: must be {size} x {size} pixels, not {image.size[0]} x {image.size[1]}")
    image = image.convert("RGB" if form["channels"] == 3 else "L")
    values = np.asarray(image, np.float32).reshape(size, size, -1).transpose(2, 0, 1) / 255
    return 1 - values if form["inverted"] else values  # ink is 1


def main(folder, *paths):
    exported = Exported(folder)
    if "labels" not in exported.labels:
        sys.exit(f"{folder}: is an encoder, which knows no classes; export after fit")
    scores = exported(np.stack([read(path, exported.labels) for path in paths]))
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    for path, row in zip(paths, p):
        print(f"{path}  {exported.labels['labels'][row.argmax()]}  {100 * row.max():.1f}%")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
