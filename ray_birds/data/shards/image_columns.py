"""The columns of Parquet files that hold images and classes, as Hugging Face writes them.

A column of structs {bytes, path} holds the encoded images, a column of integers their classes; the schema's
metadata, under the key `huggingface`, say which columns these are and name the classes (`ClassLabel`)
(https://huggingface.co/docs/datasets/image_dataset).
"""

import json
from typing import Any, NamedTuple

import pyarrow as pa


class Columns(NamedTuple):
    """Names of the columns of images and of labels: by the metadata, else by type and name."""

    images: list[str]
    labels: list[str]


def find(schema: pa.Schema) -> Columns:
    """Raises ValueError or RecursionError where the metadata cannot be read."""
    features = _features(schema)
    images = [name for name, kind in features.items() if kind.get("_type") == "Image"]
    labels = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    images = images or [field.name for field in schema if _is_image(field.type)]
    labels = labels or [field.name for field in schema if field.name in ("label", "labels")]
    types = {name: schema.field(name).type for name in schema.names if schema.get_field_index(name) >= 0}
    return Columns(
        [name for name in images if _is_image(types.get(name))], [n for n in labels if _is_label(types.get(n))]
    )


def class_names(schema: pa.Schema, label: str) -> list[str]:
    """Names of the classes by number, none where labels are texts. Raises ValueError for any other form."""
    names = _features(schema).get(label, {}).get("names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its metadata name no classes: {str(names)[:50]}")
    return names


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What the metadata say of columns; what has another form counts for nothing."""
    found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    found = found if isinstance(found, dict) else {}
    return {name: kind for name, kind in found.items() if isinstance(kind, dict)}


def _is_image(kind: pa.DataType | None) -> bool:
    if kind is None or not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    data = kind.field("bytes").type
    return pa.types.is_binary(data) or pa.types.is_large_binary(data)


def _is_label(kind: pa.DataType | None) -> bool:
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return kind is not None and any(test(kind) for test in types)
