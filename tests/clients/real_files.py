"""Real files of many kinds: some of this repository, some of the machine, some written by the formats' own libraries."""

import gzip
import io
import random
import sqlite3
import struct
import sys
import tarfile
import wave
import zipfile
import zlib
from pathlib import Path

from checks import HERE, ROOT


def real_files(folder):
    """Writes or finds the files and returns their paths, one for each kind, by the kind's name."""
    folder = Path(folder)
    files = {
        "Python source": HERE / "real_files.py",
        "Rust source": ROOT / "xtask/src/floors.rs",
        "JavaScript source": HERE / "viem_smoke.mjs",
        "Solidity source": ROOT / "contracts/src/LatticeModels.sol",
        "shell script": HERE / "cast_smoke.sh",
        "Markdown": ROOT / "docs/glossary.md",
        "TOML": ROOT / "Cargo.toml",
        "JSON": ROOT / "contracts/artifacts/Counter.json",
        "executable": Path(sys.executable).resolve(),
    }
    written = {
        "HTML": ("page.html", _html()),
        "CSV": ("table.csv", _csv()),
        "PNG image": ("image.png", _png()),
        "PDF document": ("paper.pdf", _pdf()),
        "zip archive": ("archive.zip", _zip()),
        "gzip file": ("text.gz", gzip.compress(b"The same sentence, again and again.\n" * 200, mtime=0)),
        "tar archive": ("archive.tar", _tar()),
        "WAV sound": ("sound.wav", _wav()),
    }
    for kind, (name, content) in written.items():
        files[kind] = folder / name
        files[kind].write_bytes(content)
    files["SQLite database"] = _sqlite(folder / "table.db")
    return files


def _html():
    rows = "".join(f"<tr><td>{n}</td><td>{n * n}</td></tr>\n" for n in range(40))
    page = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Squares</title><style>td {{ text-align: right; }}</style></head>
<body>
<h1>Squares</h1>
<table>
{rows}</table>
<p>See <a href="https://example.org/cubes">cubes</a>.</p>
</body>
</html>
"""
    return page.encode()


def _csv():
    lines = ["id,name,height_m,city"]
    lines += [f'{n},"Person {n}",{1.5 + n / 100:.2f},City {n % 7}' for n in range(120)]
    return ("\r\n".join(lines) + "\r\n").encode()


def _png():
    side = 64
    pixels = b"".join(b"\0" + bytes(channel for x in range(side) for channel in (4 * x, 4 * y, 128)) for y in range(side))

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def _pdf():
    text = b"BT /F1 18 Tf 72 720 Td (A page with one line of text.) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(zipfile.ZipInfo(f"notes/{number}.txt"), f"Note number {number}.\n" * 50)
    return out.getvalue()


def _tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        content = b"Some text in an archive.\n" * 40
        entry = tarfile.TarInfo("notes/first.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _wav():
    noise = random.Random(7)
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"".join(struct.pack("<h", noise.randrange(-9000, 9000)) for _ in range(4000)))
    return out.getvalue()


def _sqlite(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO person (name) VALUES (?)", [(f"Person {n}",) for n in range(100)])
    database.close()
    return path
