"""Puts the words beside the pictures that train.py painted (samples.png): label.py SAMPLES.png MODEL.json OUT.jpg. Needs Pillow."""
import json
import sys

from PIL import Image, ImageDraw, ImageFont

COLUMNS, TITLE, GAP = 2, 24, 14


def main(samples, facts, out):
    with open(facts, encoding="utf-8") as file:
        words = json.load(file)["words"][1:]
    strips = Image.open(samples).convert("RGB")
    width, height = strips.width, strips.height // len(words)
    rows = -(-len(words) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + (COLUMNS + 1) * GAP, rows * (height + TITLE) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for i, word in enumerate(words):
        x, y = GAP + i // rows * (width + GAP), i % rows * (height + TITLE)
        draw.text((x, y + 3), word, fill="black", font=font)
        sheet.paste(strips.crop((0, i * height, width, (i + 1) * height)), (x, y + TITLE))
    sheet.save(out, quality=88)


main(*sys.argv[1:])
