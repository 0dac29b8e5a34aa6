"""Models as Keras 3 keeps them: a zip archive, or a folder, with a configuration, weights and assets.

Every member is checked by what is declared of it before anything is extracted or copied.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from pathlib import Path
from typing import IO

from attnscope.errors import ModelFileError, UnsafeFileError, UnsupportedError
from attnscope.loading.container._disk_space import check_disk_space
from attnscope.loading.container._hdf5 import checked
from attnscope.loading.container._json_documents import MAX_BYTES, SAVE_AGAIN, parsed, readable
from attnscope.loading.container._stored_model import StoredModel
from attnscope.loading.container._windows_paths import nest_groups

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets"
MAX_MEMBERS = 10_000
MAX_EXPANSION = 100
FREE_BYTES = 64 * 2**20
_NPZ = "model.weights.npz"
_PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}")


def from_archive(path: Path, file: IO[bytes], private: Path) -> StoredModel:
    """The model in a zip archive, extracted into a private folder."""
    with readable(f"The archive {path.name}", SAVE_AGAIN), zipfile.ZipFile(file) as archive:
        if CONFIG not in archive.namelist():
            raise _no_model(path, archive.namelist())
        members = _members(archive, file.seek(0, 2))
        check_disk_space(sum(member.file_size for member in members), private)
        for member in members:
            _extract(archive, member, private)
    return _from_private_folder(path, private)


def _no_model(path: Path, names: list[str]) -> ModelFileError:
    if any(name.endswith("data.pkl") for name in names):
        return ModelFileError(
            f"{path.name} is a PyTorch file, but a .keras or .h5 file is needed. Build the same model in Keras, set "
            "its weights from these layer by layer, and pass it to attnscope.capture."
        )
    folders = [name.removesuffix(f"/{CONFIG}") for name in names if name.endswith(f"/{CONFIG}")]
    if folders:
        return ModelFileError(
            f"{path.name} is a zip archive with a model in the folder {folders[0]!r}. Expected a .keras file, which "
            "has it at its root. Unpack the archive, and load that folder."
        )
    return ModelFileError(
        f"{path.name} is a zip archive without {CONFIG!r}, so it is no Keras model. Expected a .keras file. If the "
        "archive contains a model file, unpack it, and load that file."
    )


def _members(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The files in an archive, each checked by what is declared of it."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnsafeFileError(
            f"The archive has {len(members):,} members. Expected at most {MAX_MEMBERS:,}. {SAVE_AGAIN}"
        )
    names: set[str] = set()
    for member in members:
        _check_name(member.orig_filename.removesuffix("/") if member.is_dir() else member.orig_filename)
        _check_member(member)
        if member.filename.casefold() in names:
            raise UnsafeFileError(
                f"The archive contains {member.filename!r} twice. "
                f"Expected each member once: it is unclear which one is meant. {SAVE_AGAIN}"
            )
        names.add(member.filename.casefold())
    _check_offsets(members, size)
    return [member for member in members if not member.is_dir()]


def _check_name(name: str) -> None:
    """A name is one of the three, or a plain relative one under ``assets/``."""
    if name == _NPZ:
        raise UnsafeFileError(
            f"The archive keeps its weights as {name!r}, which cannot be checked before it is read. "
            f"Expected {WEIGHTS!r}. Load it where you trust it, and save it again: model.save('model.keras')."
        )
    parts = name.split("/")
    plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
    if not plain or (name not in (CONFIG, METADATA, WEIGHTS) and parts[0] != ASSETS):
        raise UnsafeFileError(
            f"The archive has a member {name!r}. "
            f"Expected only {CONFIG!r}, {METADATA!r}, {WEIGHTS!r} and plain names under '{ASSETS}/'. {SAVE_AGAIN}"
        )


def _check_member(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG) and not (member.is_dir() and kind == stat.S_IFDIR):
        what = "a symbolic link" if stat.S_ISLNK(mode) else f"of the special kind {oct(kind)}"
        raise UnsafeFileError(f"The member {member.filename!r} is {what}. Expected plain files. {SAVE_AGAIN}")
    if member.flag_bits & 0x41:
        raise UnsafeFileError(
            f"The member {member.filename!r} is encrypted. Expected plain members. "
            f"Unpack the archive with its password, and zip it again without one."
        )
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeFileError(
            f"The member {member.filename!r} is compressed by method {member.compress_type}. "
            f"Expected it stored or deflated. {SAVE_AGAIN}"
        )
    is_text = member.filename in (CONFIG, METADATA)
    limit = MAX_BYTES if is_text else FREE_BYTES + MAX_EXPANSION * member.compress_size
    if member.file_size > limit:
        raise UnsafeFileError(
            f"The member {member.filename!r} unpacks from {member.compress_size:,} bytes to {member.file_size:,}. "
            f"Expected at most {limit:,}. {SAVE_AGAIN}"
        )


def _check_offsets(members: list[zipfile.ZipInfo], size: int) -> None:
    """Each member has bytes of its own, from the very start of the file, and together they unpack to a sane total."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end or (end == 0 and member.header_offset):
            raise UnsafeFileError(
                f"The member {member.filename!r} begins at byte {member.header_offset:,}, but byte {end:,} was next: "
                f"members overlap, or something precedes the archive. Expected one member after another. {SAVE_AGAIN}"
            )
        end = member.header_offset + 30 + len(member.orig_filename.encode("utf-8", "replace")) + member.compress_size
    total = sum(member.file_size for member in members)
    if end > size or total > FREE_BYTES + MAX_EXPANSION * size:
        raise UnsafeFileError(
            f"The archive has {size:,} bytes; its members end at {end:,} and unpack to {total:,}. "
            f"Expected them to lie inside the file, and to unpack to at most {MAX_EXPANSION} times its size. "
            f"{SAVE_AGAIN}"
        )


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, private: Path) -> None:
    """Copy one member; `zipfile` stops at the declared size, and verifies the checksum of what it has read."""
    target = private / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, 2**20)
    if target.stat().st_size != member.file_size:
        raise UnsafeFileError(
            f"The member {member.filename!r} unpacks to {target.stat().st_size:,} bytes, but {member.file_size:,} are "
            f"declared. Expected the two to agree. {SAVE_AGAIN}"
        )


def from_folder(path: Path, private: Path) -> StoredModel:
    """The model in a folder as Keras unzips it, copied into a private folder."""
    if (path / "saved_model.pb").is_file():
        raise UnsupportedError(
            f"{str(path)!r} is a SavedModel, which holds compiled TensorFlow graphs: their layers, and so their "
            "attention, cannot be seen. Load it with the Keras and the code that made it, and save it again, "
            "model.save('model.keras'); or build the model, and load its weights from an .h5 file: "
            "attnscope.load_model('weights.h5', model)."
        )
    if not (path / CONFIG).is_file():
        raise UnsupportedError(
            f"The folder {path.name} contains neither {CONFIG!r} nor 'saved_model.pb'. "
            f"Expected a folder that Keras or TensorFlow saved a model in. Pass that folder itself, or a .keras file."
        )
    files = _files(path)
    check_disk_space(sum(file.lstat().st_size for file in files), private)
    for file in files:
        target = private / file.relative_to(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target, follow_symlinks=False)
        if target.is_symlink():
            raise UnsafeFileError(
                f"{target.name!r} became a link while it was being copied. Expected plain files. {SAVE_AGAIN}"
            )
    return _from_private_folder(path, private)


def _files(path: Path) -> list[Path]:
    """The plain files under a folder, each checked by its name and kind."""
    files: list[Path] = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        _check_name(name)
        mode = file.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UnsafeFileError(
                f"{name!r} in the folder {path.name} is a link or a device. Expected plain files. {SAVE_AGAIN}"
            )
        if len(files) > MAX_MEMBERS:
            raise UnsafeFileError(
                f"The folder {path.name} has more than {MAX_MEMBERS:,} files. Expected fewer. {SAVE_AGAIN}"
            )
        if name in (CONFIG, METADATA) and file.lstat().st_size > MAX_BYTES:
            raise UnsafeFileError(
                f"{name!r} in the folder {path.name} has {file.lstat().st_size:,} bytes. Expected at most "
                f"{MAX_BYTES:,}. {SAVE_AGAIN}"
            )
        if stat.S_ISREG(mode):
            files.append(file)
    return files


def _from_private_folder(path: Path, private: Path) -> StoredModel:
    """The model whose checked members lie in a private folder."""
    for name in (CONFIG, WEIGHTS):
        if not (private / name).is_file():
            raise ModelFileError(f"{path.name} has no {name!r}. Expected a model as Keras saves it. {SAVE_AGAIN}")
    config = parsed((private / CONFIG).read_bytes(), f"{CONFIG!r} of {path.name}")
    metadata = {}
    if (private / METADATA).is_file():
        metadata = parsed((private / METADATA).read_bytes(), f"{METADATA!r} of {path.name}")
    stored_bytes = checked(private / WEIGHTS, WEIGHTS).stored
    with readable(f"The HDF5 file {WEIGHTS}", SAVE_AGAIN):
        nested = nest_groups(private / WEIGHTS)
    if nested:
        checked(private / WEIGHTS, WEIGHTS)
    version = metadata.get("keras_version")
    return StoredModel(
        "keras",
        path,
        config,
        metadata=metadata,
        keras_version=version if isinstance(version, str) else None,
        weights=private / WEIGHTS,
        stored_bytes=stored_bytes,
        assets=private / ASSETS if (private / ASSETS).is_dir() else None,
        folder=private,
    )
