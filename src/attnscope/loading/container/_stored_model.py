"""Model files opened as data: the container is checked, and a private copy of what was checked is what is loaded."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import h5py

from attnscope.errors import UnsafeFileError, UnsupportedError
from attnscope.loading.container import _hdf5
from attnscope.loading.container._json_documents import MAX_BYTES, parsed, readable
from attnscope.loading.limits import limited_variables

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets"
MAX_MEMBERS = 10_000
MAX_EXPANSION = 100
FREE_BYTES = 64 * 2**20
_NPZ = "model.weights.npz"
_PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}")
_MEND = "Take the file from where it was first saved, or save the model again: model.save('model.keras')."


@dataclass(frozen=True)
class StoredModel:
    """A model file whose container has been checked, and whose configuration is plain data.

    Nothing of it has been deserialised. `weights`, `assets` and `folder` are private copies that vanish when the
    context of `opened` ends: load from them, so that what was checked is what is loaded.
    """

    kind: str
    """``"keras"`` (zip or folder), ``"h5"`` (whole model), ``"weights"`` (HDF5 alone) or ``"savedmodel"`` (folder)."""
    path: Path
    """The file or folder that was given."""
    config: dict[str, Any] | None
    """The model's configuration: ``config.json``, or the attribute ``model_config``."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """``metadata.json``, or the attributes ``keras_version`` and ``backend``."""
    keras_version: str | None = None
    """The version of Keras that saved it, where that is stored."""
    weights: Path | None = None
    """A checked HDF5 file with the weights."""
    training: dict[str, Any] | None = None
    """What an ``.h5`` file says about compiling: the attribute ``training_config``."""
    assets: Path | None = None
    """The folder of checked assets (vocabularies) of a ``"keras"`` model, if it has any."""
    folder: Path | None = None
    """A private folder that `keras.saving.load_model` reads as a model; its ``config.json`` may be rewritten."""
    stored_bytes: int = 0
    """Bytes that the weights take in the file."""


@contextmanager
def opened(path: str | Path) -> Iterator[StoredModel]:
    """Open a model file as data.

    What a file is, its first bytes say, not its name. A zip may hold ``config.json``, ``metadata.json``,
    ``model.weights.h5`` and plain files under ``assets/``, and nothing else. Its members, and the HDF5 tree, are
    checked before anything is extracted or read; what passes is copied into a private folder.

    Inside the context no variable is made that is far larger than the weights in the file (see `limited_variables`).

    Args:
        path: A ``.keras`` file, an ``.h5`` or ``.hdf5`` file, a folder that Keras saved a model in, or a SavedModel
            folder.

    Yields:
        The model as data, valid inside the context.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        UnsafeFileError: The container holds what no model needs, or more than it says.
        UnsupportedError: It is no model file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {str(path)!r}. Expected a model file or folder; check the path.")
    with tempfile.TemporaryDirectory(prefix="attnscope-") as private:
        stored = _read(path, Path(private))
        with limited_variables(stored.stored_bytes):
            yield stored


def _read(path: Path, folder: Path) -> StoredModel:
    """What is at `path`, by its first bytes."""
    if path.is_dir():
        return _folder(path, folder)
    if not path.is_file():
        raise UnsupportedError(f"{str(path)!r} is a device or a pipe. Expected a model file: give the file itself.")
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        if start == _hdf5.SIGNATURE:
            return _hdf5_file(path, file, folder)
        if start.startswith(b"PK"):
            return _archive(path, file, folder)
    raise UnsupportedError(
        f"{path.name} begins with {start!r}. Expected a .keras file (a zip) or an .h5 file (HDF5). "
        f"Save the model again: model.save('model.keras')."
    )


# Zip archives ---------------------------------------------------------------------------------------------------------


def _archive(path: Path, file: IO[bytes], folder: Path) -> StoredModel:
    with readable(f"The archive {path.name}", _MEND), zipfile.ZipFile(file) as archive:
        members = _members(archive, file.seek(0, 2))
        _check_room(sum(member.file_size for member in members), folder)
        for member in members:
            _extract(archive, member, folder)
    return _unpacked(path, folder)


def _members(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The files in an archive, every one checked by what is declared of it."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnsafeFileError(f"The archive has {len(members):,} members. Expected at most {MAX_MEMBERS:,}. {_MEND}")
    names: set[str] = set()
    for member in members:
        _check_name(member.orig_filename.removesuffix("/") if member.is_dir() else member.orig_filename)
        _check_kind(member)
        if member.filename.casefold() in names:
            raise UnsafeFileError(
                f"The archive has {member.filename!r} twice. "
                f"Expected every member once: which is meant cannot be known. {_MEND}"
            )
        names.add(member.filename.casefold())
    _check_places(members, size)
    return [member for member in members if not member.is_dir()]


def _check_name(name: str) -> None:
    """A name is one of the three, or a plain relative one under ``assets/``."""
    if name == _NPZ:
        raise UnsafeFileError(
            f"The archive keeps its weights as {name!r}, which cannot be checked before it is read. "
            f"Expected {WEIGHTS!r}. Load it where you trust it and save it again: model.save('model.keras')."
        )
    parts = name.split("/")
    plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
    if not plain or (name not in (CONFIG, METADATA, WEIGHTS) and parts[0] != ASSETS):
        raise UnsafeFileError(
            f"The archive has a member {name!r}. "
            f"Expected {CONFIG!r}, {METADATA!r}, {WEIGHTS!r} and plain names under '{ASSETS}/' only. {_MEND}"
        )


def _check_kind(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG) and not (member.is_dir() and kind == stat.S_IFDIR):
        what = "a symbolic link" if stat.S_ISLNK(mode) else f"of the special kind {oct(kind)}"
        raise UnsafeFileError(f"The member {member.filename!r} is {what}. Expected plain files. {_MEND}")
    if member.flag_bits & 0x41:
        raise UnsafeFileError(
            f"The member {member.filename!r} is encrypted. Expected plain members. "
            f"Unpack the archive with its password and zip it again without one."
        )
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFileError(
            f"The member {member.filename!r} is packed by method {member.compress_type}. "
            f"Expected it stored or deflated. {_MEND}"
        )
    text = member.filename in (CONFIG, METADATA)
    limit = MAX_BYTES if text else FREE_BYTES + MAX_EXPANSION * member.compress_size
    if member.file_size > limit:
        raise UnsafeFileError(
            f"The member {member.filename!r} unpacks to {member.file_size:,} bytes, of {member.compress_size:,} that "
            f"are stored. Expected at most {limit:,}. {_MEND}"
        )


def _check_places(members: list[zipfile.ZipInfo], size: int) -> None:
    """Each member lies in bytes of its own, from the very start of the file; all of them unpack to a sane total."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end or (end == 0 and member.header_offset):
            raise UnsafeFileError(
                f"The member {member.filename!r} begins at byte {member.header_offset:,}, but {end:,} was next: "
                f"members overlap, or something stands before the archive. Expected them one after the other. {_MEND}"
            )
        end = member.header_offset + 30 + len(member.orig_filename.encode("utf-8", "replace")) + member.compress_size
    total = sum(member.file_size for member in members)
    if end > size or total > FREE_BYTES + MAX_EXPANSION * size:
        raise UnsafeFileError(
            f"The archive has {size:,} bytes; its members end at {end:,} and unpack to {total:,}. "
            f"Expected them inside the file, and at most {MAX_EXPANSION} times as large. {_MEND}"
        )


def _check_room(total: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        raise UnsafeFileError(
            f"The model unpacks to {total:,} bytes, but the folder for temporary files has {free:,} free. "
            f"Expected room for a private copy. Point TMPDIR at a larger disk."
        )


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Copy one member; `zipfile` stops at the declared size, and checks the sum of what it has read."""
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
    if target.stat().st_size != member.file_size:
        raise UnsafeFileError(
            f"The member {member.filename!r} unpacks to {target.stat().st_size:,} bytes, but {member.file_size:,} are "
            f"declared. Expected the two alike. {_MEND}"
        )


# Folders --------------------------------------------------------------------------------------------------------------


def _folder(path: Path, folder: Path) -> StoredModel:
    if (path / "saved_model.pb").is_file():
        return StoredModel("savedmodel", path, None)
    if not (path / CONFIG).is_file():
        raise UnsupportedError(
            f"The folder {path.name} holds neither {CONFIG!r} nor 'saved_model.pb'. "
            f"Expected a folder that Keras or TensorFlow saved a model in. Give the folder itself, or a .keras file."
        )
    files: list[Path] = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        _check_name(name)
        mode = file.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UnsafeFileError(
                f"{name!r} in the folder {path.name} is a link or a device. Expected plain files. {_MEND}"
            )
        if len(files) > MAX_MEMBERS or (name in (CONFIG, METADATA) and file.lstat().st_size > MAX_BYTES):
            raise UnsafeFileError(
                f"The folder {path.name} has more than {MAX_MEMBERS:,} files, or more than {MAX_BYTES:,} bytes in "
                f"{name!r}. Expected less. {_MEND}"
            )
        if stat.S_ISREG(mode):
            files.append(file)
    _check_room(sum(file.lstat().st_size for file in files), folder)
    for file in files:
        target = folder / file.relative_to(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target, follow_symlinks=False)
        if target.is_symlink():
            raise UnsafeFileError(f"{target.name!r} became a link while it was copied. Expected plain files. {_MEND}")
    return _unpacked(path, folder)


def _unpacked(path: Path, folder: Path) -> StoredModel:
    """A model whose checked members lie in a private folder."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UnsafeFileError(f"{path.name} has no {name!r}. Expected a model as Keras saves it. {_MEND}")
    config = parsed((folder / CONFIG).read_bytes(), f"{CONFIG!r} of {path.name}")
    metadata = {}
    if (folder / METADATA).is_file():
        metadata = parsed((folder / METADATA).read_bytes(), f"{METADATA!r} of {path.name}")
    contents = _hdf5.checked(folder / WEIGHTS)
    return StoredModel(
        "keras",
        path,
        config,
        metadata,
        _text(metadata.get("keras_version")),
        folder / WEIGHTS,
        assets=folder / ASSETS if (folder / ASSETS).is_dir() else None,
        folder=folder,
        stored_bytes=contents.stored,
    )


# HDF5 files -----------------------------------------------------------------------------------------------------------


def _hdf5_file(path: Path, file: IO[bytes], folder: Path) -> StoredModel:
    _check_room(file.seek(0, 2), folder)
    file.seek(0)
    copy = folder / "model.h5"
    with copy.open("xb") as target:
        shutil.copyfileobj(file, target, 2**20)
    contents = _hdf5.checked(copy)
    with readable(f"The HDF5 file {path.name}", _MEND), h5py.File(copy, "r") as model:
        attributes = {
            name: _attribute(model, name) for name in ("keras_version", "backend", "model_config", "training_config")
        }
        group = model.get("model_weights")
        if attributes["keras_version"] is None and isinstance(group or model, h5py.Group):
            attributes["keras_version"] = _attribute(group or model, "keras_version")
    config, training = (
        parsed(text, f"The attribute {name!r} of {path.name}") if (text := attributes[name]) is not None else None
        for name in ("model_config", "training_config")
    )
    return StoredModel(
        "weights" if config is None else "h5",
        path,
        config,
        {name: attributes[name] for name in ("keras_version", "backend") if attributes[name] is not None},
        attributes["keras_version"],
        copy,
        training=training,
        stored_bytes=contents.stored,
    )


def _attribute(holder: h5py.Group, name: str) -> str | None:
    """An attribute that is one text, or None where there is none."""
    if name not in holder.attrs:
        return None
    attribute = holder.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind not in "OS":
        raise UnsafeFileError(
            f"The attribute {name!r} of the HDF5 file has shape {attribute.shape} and type {attribute.dtype}. "
            f"Expected one text. {_MEND}"
        )
    value = holder.attrs[name]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
