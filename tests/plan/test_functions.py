from __future__ import annotations

from pathlib import Path

from residency.plan.functions import module_file, source_hash


def project(folder: Path) -> tuple[Path, ...]:
    (folder / "processors").mkdir()
    (folder / "processors" / "__init__.py").write_text("")
    (folder / "processors" / "a.py").write_text(
        "from processors import b\nimport json\n\ndef f(): return b.g()\n"
    )
    (folder / "processors" / "b.py").write_text("from .c import h\n\ndef g(): return h()\n")
    (folder / "processors" / "c.py").write_text("def h(): return 1\n")
    (folder / "processors" / "other.py").write_text("def x(): return 1\n")
    return (folder,)


def test_the_module_behind_a_dotted_path_is_found(tmp_path: Path) -> None:
    roots = project(tmp_path)
    assert module_file("processors.a.f", roots) == tmp_path / "processors" / "a.py"
    assert module_file("processors", roots) == tmp_path / "processors" / "__init__.py"
    assert module_file("nothing.at.all", roots) is None


def test_the_hash_covers_what_the_module_imports_and_nothing_else(tmp_path: Path) -> None:
    roots = project(tmp_path)
    before = source_hash("processors.a.f", roots)
    (tmp_path / "processors" / "other.py").write_text("def x(): return 2\n")
    assert source_hash("processors.a.f", roots) == before
    (tmp_path / "processors" / "c.py").write_text("def h(): return 2\n")
    assert source_hash("processors.a.f", roots) != before, "a change two imports away counts"


def test_two_functions_of_one_module_differ(tmp_path: Path) -> None:
    roots = project(tmp_path)
    assert source_hash("processors.a.f", roots) != source_hash("processors.a.k", roots)
    assert source_hash("absent.f", roots) == "missing"


def test_a_module_that_does_not_parse_still_hashes(tmp_path: Path) -> None:
    roots = project(tmp_path)
    (tmp_path / "processors" / "c.py").write_text("def h(:\n")
    assert len(source_hash("processors.a.f", roots)) == 64
