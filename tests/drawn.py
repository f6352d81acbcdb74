"""Drawings as the page sends them: PNGs as data URLs."""

import base64
import io

from PIL import Image, ImageDraw


def as_url(image: Image.Image, kind: str = "png") -> str:
    memory = io.BytesIO()
    image.save(memory, kind)
    return f"data:image/{kind};base64,{base64.b64encode(memory.getvalue()).decode()}"


def as_image(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def png(*lines, size: int = 168) -> str:
    image = Image.new("RGB", (size, size), "white")
    for line in lines:
        ImageDraw.Draw(image).line(line, fill="black", width=8)
    return as_url(image)


BAR, CROSS = png([(84, 20), (84, 150)]), png([(20, 20), (150, 150)], [(20, 150), (150, 20)])
ARC = png([(30, 30), (140, 40), (40, 140), (140, 140)])
DENSE = png(*([(14, y), (154, y)] for y in range(14, 154, 9)))
DOT = png([(82, 84), (87, 84)])
