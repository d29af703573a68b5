"""What a class is in the vocabularies of camera traps: an animal, unless its name says otherwise."""

from ray_birds.data.labels import fold

_KINDS = {
    "blank": ("blank", "empty", "nothing", "no animal"),
    "human": ("human", "humans", "person", "people"),
    "vehicle": ("vehicle", "vehicles", "car"),
}
_BY_NAME = {fold(name): kind for kind, names in _KINDS.items() for name in names}


def kind(label: str) -> str:
    """`animal`, `blank`, `human` or `vehicle`."""
    return _BY_NAME.get(fold(label), "animal")
