"""Rows written as parquet without knowing their columns' types before, and without all in memory.

Columns that the recipe's data brings along may hold anything. Rows are put down in batches with
the types that each batch has; at the end the types that fit all batches are known, and the file is
written with them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from residency.errors import StageFailed
from residency.files import atomic

STRUCTS = "."
"""`extra_info.index` is the field `index` of the struct column `extra_info`."""


class ParquetRows:
    """A parquet file that is there whole when the block ends well, and not at all otherwise."""

    def __init__(self, path: Path, optional: str = "extra_info.") -> None:
        """Start a file.

        Args:
            path: Where it will stand.
            optional: Columns whose names begin so are left out when their values are of several types.
        """
        self.path, self.optional = path, optional
        self.left_out: dict[str, str] = {}
        """Column that was left out → why."""
        self.rows = 0
        self._batches: list[tuple[Path, Any]] = []

    def __enter__(self) -> ParquetRows:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=self.path.parent, prefix=f".{self.path.stem}."))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._join()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put down some rows: column (`a.b` for a field of a struct) → value each.

        Raises:
            StageFailed: The values of a column that must be there are of several types.
        """
        import pyarrow
        import pyarrow.feather

        if not rows:
            return
        names = dict.fromkeys(name for row in rows for name in row)
        arrays: dict[str, Any] = {}
        for name in names:
            if name in self.left_out:
                continue
            try:
                arrays[name] = pyarrow.array([row.get(name) for row in rows])
            except (pyarrow.ArrowException, OverflowError, TypeError) as error:
                self._leave_out(name, str(error).splitlines()[0])
        table = pyarrow.table(arrays)
        part = self._folder / f"{len(self._batches):06d}.arrow"
        pyarrow.feather.write_feather(table, part, compression="lz4")
        self._batches.append((part, table.schema))
        self.rows += len(rows)

    def _leave_out(self, name: str, why: str) -> None:
        if not name.startswith(self.optional):
            raise StageFailed(
                f"the values of `{name}` are of several types: {why}", "bring them into one type"
            )
        self.left_out[name] = why

    def _join(self) -> None:
        """Write the batches as one file, with the types that fit all of them."""
        import pyarrow.feather
        import pyarrow.parquet

        fields = self._fields()
        schema = _nested(fields)
        with atomic(self.path, "wb") as stream, pyarrow.parquet.ParquetWriter(stream, schema) as writer:
            for part, _ in self._batches:
                table = pyarrow.feather.read_table(part, memory_map=False)
                writer.write_table(_assemble(table, fields, schema))

    def _fields(self) -> dict[str, Any]:
        """Column → its type in every batch; those in order in which they first came."""
        import pyarrow

        fields: dict[str, Any] = {}
        for _, schema in self._batches:
            for field in schema:
                if field.name in self.left_out:
                    continue
                before = fields.get(field.name)
                if before is None or before == field.type:
                    fields[field.name] = field.type
                    continue
                both = [pyarrow.schema([("x", kind)]) for kind in (before, field.type)]
                try:
                    fields[field.name] = (
                        pyarrow.unify_schemas(both, promote_options="permissive").field("x").type
                    )
                except pyarrow.ArrowException:
                    self._leave_out(field.name, f"{before} and {field.type}")
                    del fields[field.name]
        for name in [name for name, kind in fields.items() if _hollow(kind)]:
            self._leave_out(name, "it holds objects without a key, which parquet has not")
            del fields[name]
        return {name: _kept(kind) for name, kind in fields.items()}


def _kept(kind: Any) -> Any:
    """A column of nothing but nulls is written as text, since no reader knows what else to do."""
    import pyarrow

    return pyarrow.string() if pyarrow.types.is_null(kind) else kind


def _hollow(kind: Any) -> bool:
    """True for a type in which an object has no key at all."""
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return kind.num_fields == 0 or any(_hollow(field.type) for field in kind)
    return pyarrow.types.is_list(kind) and _hollow(kind.value_type)


def _nested(fields: Mapping[str, Any]) -> Any:
    """The schema of the file: `a.b` becomes the field `b` of the struct `a`."""
    import pyarrow

    columns: dict[str, Any] = {}
    for name, kind in fields.items():
        above, _, below = name.partition(STRUCTS)
        if below:
            columns.setdefault(above, []).append(pyarrow.field(below, kind))
        else:
            columns[name] = kind
    return pyarrow.schema(
        [(name, pyarrow.struct(kind) if isinstance(kind, list) else kind) for name, kind in columns.items()]
    )


def _assemble(table: Any, fields: Mapping[str, Any], schema: Any) -> Any:
    import pyarrow

    def column(name: str) -> Any:
        kind = fields[name]
        if name not in table.column_names:
            return pyarrow.nulls(len(table), kind)
        return table.column(name).combine_chunks().cast(kind)

    arrays = []
    for field in schema:
        if field.name in fields:
            arrays.append(column(field.name))
        else:
            inner = list(field.type)
            parts = [column(f"{field.name}{STRUCTS}{one.name}") for one in inner]
            arrays.append(pyarrow.StructArray.from_arrays(parts, fields=inner))
    return pyarrow.Table.from_arrays(arrays, schema=schema)
