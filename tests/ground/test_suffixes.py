"""What a file is called says what is written: a suffix that is not known is an error, and nothing is written."""

import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import PAGES, STORES, InputError, free_path
from attnscope.pages import save_report


@pytest.mark.parametrize(
    ("name", "suffixes", "message"),
    [
        ("view.pdf", PAGES, "has to end in .html or .htm, which says what is written. Give it one: 'view.html'."),
        ("view", PAGES, "has to end in .html or .htm, which says what is written. Give it one: 'view.html'."),
        ("run.npz", STORES, "has to end in .zarr, which says what is written. Give it one: 'run.zarr'."),
        (
            "a.b.doc",
            (".png", ".svg", ".pdf"),
            "has to end in .png, .svg or .pdf, which says what is written. Give it one: 'a.b.png'.",
        ),
    ],
)
def test_other_suffixes_are_refused_with_one_that_fits(tmp_path, name, suffixes, message):
    path = tmp_path / name
    with pytest.raises(InputError) as caught:
        free_path(path, "", suffixes=suffixes)
    assert str(caught.value) == f"The file is {str(path)!r}, but its name {message}"


def test_suffixes_in_capitals_and_stores_without_one_are_known(tmp_path):
    assert free_path(tmp_path / "A.HTML", "", suffixes=PAGES).name == "A.HTML"
    assert free_path(tmp_path / "run", "", suffixes=STORES).name == "run"
    assert free_path(tmp_path / "anything.at.all", "").name == "anything.at.all"


def test_maps_and_pages_keep_to_it(tmp_path):
    maps = ats.AttentionMaps.from_arrays({"a": np.full((1, 2, 3, 5), 0.2)})
    for save, name in ((maps.save, "maps.npz"), (lambda path: save_report("<p>", path), "report.txt")):
        with pytest.raises(InputError, match="has to end in"):
            save(tmp_path / name)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere/page.html",
            "because there is no folder '{folder}/nowhere'. Make it first: "
            "pathlib.Path('{folder}/nowhere').mkdir(parents=True).",
        ),
        ("file/page.html", "because '{folder}/file' is no folder. Give another path."),
        ("folder.html", "because it is a folder. Give another path."),
    ],
)
def test_places_where_nothing_can_be_written_are_said(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError) as raised:
        free_path(tmp_path / name, "", overwrite=True, suffixes=PAGES)
    assert str(raised.value) == f"Nothing can be written at '{tmp_path}/{name}', " + message.format(folder=tmp_path)


def test_a_name_that_is_too_long_is_said(tmp_path):
    path = tmp_path / f"{'e' * 900}.html"
    with pytest.raises(InputError) as raised:
        free_path(path, "", suffixes=PAGES)
    assert str(raised.value) == f"Nothing can be written at '{path}': File name too long. Give another path."


def test_stores_make_their_folders(tmp_path):
    assert free_path(tmp_path / "a" / "b.zarr", "", suffixes=STORES) == tmp_path / "a" / "b.zarr"
