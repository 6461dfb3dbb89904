"""Packs a wheel for this machine of what is built already: `python pack.py TARGET DIR`, TARGET being cargo's folder of a
profile, such as target/debug. `build` makes the wheels that are published."""

import base64
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("blindsmith-refinery", "blindsmith-warden", "blindsmith-appraiser")


def field(path: Path, name: str) -> str:
    """The value of a field of a manifest."""
    lines = [line for line in path.read_text().splitlines() if line.startswith(f"{name} = ")]
    return lines[0].partition("=")[2].strip().strip('"')


def stripped(source: Path, folder: Path) -> Path:
    """A copy without what only debuggers read."""
    copy = folder / source.name
    shutil.copy(source, copy)
    if shutil.which("strip"):
        subprocess.run(["strip", str(copy)], check=True)
    return copy


def main(target: Path, out: Path) -> None:
    version = field(HERE / "../../Cargo.toml", "version")
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    tag = f"cp39-abi3-{platform}"
    info = f"blindsmith-{version}.dist-info"
    project = HERE / "pyproject.toml"
    files: dict[str, tuple[bytes, int]] = {}
    for path in sorted((HERE / "python").rglob("*")):
        if path.suffix in (".py", ".pyi", ".typed") or path.name == "py.typed":
            files[path.relative_to(HERE / "python").as_posix()] = (path.read_bytes(), 0o644)
    with tempfile.TemporaryDirectory() as folder:
        native = stripped(target / "deps" / "libblindsmith_native.so", Path(folder))
        files["blindsmith/_native.abi3.so"] = (native.read_bytes(), 0o755)
        for program in PROGRAMS:
            files[f"blindsmith/_bin/{program}"] = (stripped(target / program, Path(folder)).read_bytes(), 0o755)
    numpy = field(project, "dependencies").strip("[]").strip('"')
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: blindsmith\nVersion: {version}\nSummary: {field(project, 'description')}\n"
        f"Requires-Python: {field(project, 'requires-python')}\nRequires-Dist: {numpy}\n".encode(),
        0o644,
    )
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: blindsmith\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        0o644,
    )

    def digest(data: bytes) -> str:
        return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

    record = [f"{name},{digest(data)},{len(data)}" for name, (data, _) in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]).encode() + b"\n", 0o644)
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"blindsmith-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (data, mode) in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    print(wheel)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
