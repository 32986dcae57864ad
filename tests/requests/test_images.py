"""`--image`: BLOBs, URLs, files of one folder; what models don't take is converted."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sqlite_utils_openai_batch.base.errors import ConfigurationError, UnrenderableRow
from sqlite_utils_openai_batch.requests.images import Images

DEMO = Path(__file__).parents[2] / "demo.db"


def picture(kind: str, size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    """An image with a gradient in it."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    out = BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def opened(url: str) -> Any:
    """The kind and the size of the image in a data URL."""
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        return kind, image.size


def content(out: str) -> Any:
    """The parts of the last message of the one line that was printed."""
    body = json.loads(out)["body"]
    return body.get("messages", body.get("input"))[-1]["content"]


@pytest.fixture
def demo(tmp_path: Path) -> str:
    shutil.copy(DEMO, tmp_path / "demo.db")
    return "demo.db"


LOOK = ("--prompt", "What is this? {{ name }}", "--raw", "-n", "1")


def test_a_blob_column(run: Any, demo: str) -> None:
    said = run("preview", demo, "furniture", *LOOK, "-a", "image", "--image-detail", "low")

    with sqlite3.connect(DEMO) as conn:
        ((blob,),) = conn.execute("SELECT image FROM furniture WHERE id = 1")
    conn.close()
    url = "data:image/png;base64," + base64.b64encode(blob).decode()
    assert content(said.out) == [
        {"type": "text", "text": "What is this? Dining chair"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ]


def test_in_responses(run: Any, demo: str) -> None:
    said = run("preview", demo, "furniture", *LOOK, "-a", "image", "--endpoint", "/v1/responses")

    text, image = content(said.out)
    assert text == {"type": "input_text", "text": "What is this? Dining chair"}
    assert (image["type"], image["image_url"][:22]) == ("input_image", "data:image/png;base64,")


def test_several_images_templates_and_urls(run: Any, demo: str) -> None:
    said = run(
        "preview", demo, "furniture", *LOOK,
        "-a", "https://example.com/{{ id }}.jpg", "-a", "https://example.com/scale.png",
    )  # fmt: skip

    urls = [part["image_url"]["url"] for part in content(said.out)[1:]]
    assert urls == ["https://example.com/1.jpg", "https://example.com/scale.png"]


def test_an_image_alone_is_enough_to_ask_about(run: Any, demo: str) -> None:
    said = run("preview", demo, "furniture", "--prompt", "What is this?", "-a", "image")
    assert "20 rows in furniture · 20 to ask" in said.err


def test_the_demo_to_the_end(run: Any, demo: str, rows: Any) -> None:
    run("run", demo, "furniture", "--prompt", "What is this? {{ name }}", "-a", "image", *run.there)
    assert rows(demo, "SELECT count(*) FROM furniture WHERE answer IS NOT NULL") == [(20,)]


def test_what_is_no_image_is_an_error_with_the_nearest_column(run: Any, demo: str) -> None:
    said = run("preview", demo, "furniture", *LOOK, "-a", "imgae", code=1)
    assert said.err == (
        "Error: --image 'imgae' is not a column, a template or a URL. Did you mean image? "
        "Columns: image, name, category, material, price, id.\n"
    ) or "Did you mean image? Columns: image, " in said.err  # fmt: skip


def test_an_unreadable_image_costs_its_row(run: Any, demo: str, rows: Any) -> None:
    with sqlite3.connect(demo) as conn:
        conn.execute("UPDATE furniture SET image = X'00010203' WHERE id = 2")
        conn.execute("UPDATE furniture SET image = NULL WHERE id = 3")
        conn.execute("UPDATE furniture SET image = substr(image, 1, 12) WHERE id = 4")
        conn.execute("UPDATE furniture SET image = 'chair.png' WHERE id = 5")
    conn.close()

    run("run", demo, "furniture", "--prompt", "{{ name }}", "-a", "image", *run.there, code=3)

    found = rows(
        demo,
        "SELECT row_key, error_message FROM openai_batch_requests WHERE status = 'unrenderable'",
    )
    assert found == [
        (2, "image holds a BLOB of 4 bytes, which is not an image."),
        (3, "image holds no image."),
        (4, "image holds an image that can't be read (image/png)."),
        (5, "image holds 'chair.png', which is no URL; files need --image-dir."),
    ]


def test_files_of_one_folder_and_of_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.jpg").write_bytes(picture("JPEG"))
    (tmp_path / "secret.png").write_bytes(picture("PNG"))
    (tmp_path / "photos2").mkdir()
    (tmp_path / "photos2" / "b.png").write_bytes(picture("PNG"))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inside.png").symlink_to(folder / "deep" / "a.jpg")
    (folder / "loop").symlink_to(folder / "loop")
    images = Images(folder)

    assert opened(images.url("deep/a.jpg", "photo")) == ("image/jpeg", (40, 30))
    assert images.url(str(folder / "deep" / "a.jpg"), "photo").startswith("data:image/jpeg")
    assert images.url("inside.png", "photo").startswith("data:image/jpeg")
    outside = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "../photos2/b.png")
    for name in outside:
        with pytest.raises(UnrenderableRow, match="is outside of --image-dir"):
            images.url(name, "photo")
    for name, why in (
        ("b.jpg", "no file 'b.jpg' in --image-dir"),
        ("deep", "is not a file"),
        ("loop", "can't be read"),
        ("x" * 5_000, "can't be read"),
        ("a\0b", "can't be read"),
        (f"file://{tmp_path}/secret.png", "no file 'file:"),
    ):
        with pytest.raises(UnrenderableRow, match=why):
            images.url(name, "photo")


@pytest.mark.skipif(os.name != "posix", reason="a device is not a file")
def test_a_device_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnrenderableRow, match="is not a file"):
        Images(tmp_path).url("pipe", "photo")


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("TIFF", "image/jpeg"), ("BMP", "image/jpeg"), ("HEIF", "image/jpeg"), ("PNG", "image/png")],
)
def test_what_models_do_not_take_is_converted(kind: str, sent: str) -> None:
    assert opened(Images().url(picture(kind), "photo")) == (sent, (40, 30))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_large_images_are_made_smaller(kind: str) -> None:
    large = picture(kind, (400, 100))
    assert opened(Images(size=200).url(large, "photo"))[1] == (200, 50)
    as_it_is = Images(size=400).url(large, "photo")
    assert base64.b64decode(as_it_is.partition(",")[2]) == large
    assert Images(size=0).url(large, "photo") == as_it_is


def test_a_photo_that_lies_on_its_side_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = opened(Images(size=100).url(picture("JPEG", (400, 200), exif=exif), "photo"))
    assert turned == ("image/jpeg", (50, 100))


def test_transparency_stays() -> None:
    out = BytesIO()
    Image.new("RGBA", (300, 300), (255, 0, 0, 0)).save(out, "WEBP")
    assert opened(Images(size=100).url(out.getvalue(), "photo")) == ("image/png", (100, 100))


def test_the_size_of_0_converts_nothing() -> None:
    with pytest.raises(UnrenderableRow, match="image/tiff, which models don't take"):
        Images(size=0).url(picture("TIFF"), "photo")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_broken_images_never_raise_anything_else(kind: str) -> None:
    whole = picture(kind, (300, 200))
    chance = random.Random(3)
    for cut in (10, 30, 100, len(whole) // 2, len(whole) - 1):
        broken = bytearray(whole[:cut])
        for _ in range(chance.randrange(4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            Images(size=100).url(bytes(broken), "photo")
        except UnrenderableRow as error:
            assert str(error).startswith("photo holds ")


def test_urls_stay_as_they_are_and_other_data_urls_are_refused() -> None:
    data = "data:image/png;base64,AAAA"
    assert Images().url(f" {data}\n", "photo") == data
    assert Images().url("HTTPS://example.com/a", "photo") == "HTTPS://example.com/a"
    with pytest.raises(UnrenderableRow, match="a data URL that is not an image"):
        Images().url("data:text/html;base64,AAAA", "photo")


WITHOUT_PILLOW = """
import sys
sys.modules["PIL"] = None
from sqlite_utils_openai_batch.requests.images import Images
small, large = (open(name, "rb").read() for name in sys.argv[1:])
print(len(Images().url(small, "photo")))
Images(size=10).url(large, "photo")
"""


def test_without_pillow_the_extra_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(picture("PNG"))

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PILLOW, path, path], capture_output=True, text=True
    )

    assert int(done.stdout) > 100
    assert ConfigurationError.__name__ in done.stderr
    assert "pip install 'sqlite-utils-openai-batch[images]'" in done.stderr


def test_embeddings_take_none(run: Any, demo: str) -> None:
    said = run(
        "preview", demo, "furniture", *LOOK, "-a", "image", "--endpoint", "/v1/embeddings", code=2
    )
    assert "--image cannot be used at /v1/embeddings" in said.err


def test_a_template_of_ones_own_shows_images_too(run: Any, demo: str, tmp_path: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": "{{ image }}"}}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": [part]}]}
    (tmp_path / "b.json").write_text(json.dumps(body))

    said = run("preview", demo, "furniture", "--template", "b.json", "--raw", "-n", "1")

    assert content(said.out)[0]["image_url"]["url"].startswith("data:image/png;base64,")


def test_the_folder_is_kept_with_the_job(run: Any, tmp_path: Path, rows: Any) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(picture("PNG"))
    with sqlite3.connect("data.db") as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
        conn.execute("INSERT INTO t VALUES (1, 'chair')")
    conn.close()

    run(
        "run", "data.db", "t", "--prompt", "{{ name }}", "-a", "{{ id }}.png",
        "--image-dir", "photos", *run.there,
    )  # fmt: skip

    assert rows("data.db", "SELECT answer IS NOT NULL FROM t") == [(1,)]
    ((options,),) = rows("data.db", "SELECT options FROM openai_batch_jobs")
    assert json.loads(options)["image_dir"] == str(tmp_path / "photos")
