"""A server that classifies the pictures that it is sent: flask --app examples/server.py run"""

from pathlib import Path

from flask import Flask, jsonify, request
from PIL import Image

import maml

paths = sorted(Path("mine").glob("*/*.jpg"))  # a folder for each class
model = maml.load("protonet_60w1s").fit(paths, [path.parent.name for path in paths])
app = Flask(__name__)


@app.post("/classify")
def classify():
    image = Image.open(request.files["picture"])
    probabilities = model.predict_proba(image)[0].tolist()
    answer = {"class": model.predict(image, reject=0.05)[0]}
    return jsonify(answer | {"probabilities": dict(zip(model.classes_, probabilities))})


@app.errorhandler(maml.UserError)
def refuse(error):
    return jsonify({"error": str(error)}), 400
