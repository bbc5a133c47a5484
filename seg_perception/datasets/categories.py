"""Categories that people named themselves, in classes of a label set: by name, however it is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from seg_perception.datasets.label_sets import CONCEPTS, Meaning, classes_in
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.files import one_form
from seg_perception.labels import VOID, LabelSet

Classes = Mapping[int | str, tuple[str, ...]]
"""What a configuration says of ids, or of categories by name, in class names of a label set."""

VOID_WORDS = frozenset(
    ("", "background", "void", "unlabeled", "unlabelled", "unlabel", "ignore", "ignored", "ignore region", "unknown")
)
"""As tools call what nobody labelled; a class of the label set of such a name is meant before."""

HINTS = {
    **dict.fromkeys(("street", "roadway", "carriageway", "drivable area", "lane", "strasse", "straße"), "road"),
    **dict.fromkeys(("fahrbahn", "route", "chaussée", "calle", "carretera", "calzada", "strada", "道路"), "road"),
    **dict.fromkeys(("lane marking", "line", "markierung", "marquage", "línea"), "marking"),
    **dict.fromkeys(("pavement", "footpath", "gehweg", "bürgersteig", "trottoir", "acera", "人行道"), "sidewalk"),
    **dict.fromkeys(("pedestrian", "people", "human", "man", "fußgänger", "fussgänger", "piéton", "peatón"), "person"),
    **dict.fromkeys(("mensch", "personne", "persona", "行人", "人"), "person"),
    **dict.fromkeys(("cyclist", "bicyclist", "radfahrer", "cycliste", "ciclista"), "rider"),
    **dict.fromkeys(("vehicle", "automobile", "van", "auto", "pkw", "voiture", "coche", "carro", "汽车"), "car"),
    **dict.fromkeys(("lorry", "lkw", "lastwagen", "camion", "camión", "卡车"), "truck"),
    **dict.fromkeys(("bike", "fahrrad", "vélo", "bicicleta", "自行车"), "bicycle"),
    **dict.fromkeys(("motorbike", "motorrad", "moto", "motocicleta"), "motorcycle"),
    **dict.fromkeys(("tree", "plant", "bush", "baum", "arbre", "árbol", "vegetación", "植被"), "vegetation"),
    **dict.fromkeys(("grass", "soil", "ground", "wiese", "gras", "rasen", "herbe", "césped"), "terrain"),
    **dict.fromkeys(("house", "gebäude", "haus", "bâtiment", "edificio", "建筑"), "building"),
    **dict.fromkeys(("himmel", "ciel", "cielo", "天空"), "sky"),
    **dict.fromkeys(("zaun", "clôture", "valla"), "fence"),
    **dict.fromkeys(("mast", "pfosten", "poteau", "poste"), "pole"),
    **dict.fromkeys(("sign", "schild", "verkehrsschild", "panneau", "señal"), "traffic sign"),
    **dict.fromkeys(("ampel", "feu", "semáforo", "semaforo"), "traffic light"),
}
"""What is asked, never assumed: other words, by languages, and the one that data sets share."""

_YAML_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
"""What YAML takes for something else than a text."""


def plain(name: str) -> str:
    """A name without what differs between tools: case, underscores, hyphens, spaces at its ends, how accents are stored."""
    return " ".join(re.split(r"[\s_\-]+", one_form(name).casefold().strip(" _-\t")))


def numbered_categories(names: Mapping[int, str] | list[str]) -> dict[int, int]:
    """For each category id of a file the one to keep, 0 to 253: its own where all fit, else its place."""
    ids = sorted(names) if isinstance(names, Mapping) else list(range(len(names)))
    require_few(len(ids))
    fit = all(0 <= number < 254 for number in ids)
    return {number: number if fit else place for place, number in enumerate(ids)}


def numbered_words(words: Iterable[str]) -> dict[str, int]:
    """Ids of categories that have names alone, in their order."""
    names = sorted(set(words))
    require_few(len(names))
    return {name: number for number, name in enumerate(names)}


def require_few(count: int) -> None:
    """Raises SegPerceptionError for more categories than there are ids."""
    if count > 254:
        raise SegPerceptionError(f"there are {count} categories, and 254 at most can be told apart: merge some")


def meant_by(name: str, labels: LabelSet) -> tuple[str, ...] | None:
    """The class or concept of that name, none for what is void by its name; None where there is nothing like it."""
    for known in (*labels.names, *CONCEPTS):
        if plain(known) == plain(name):
            return (known,)
    return () if plain(name) in VOID_WORDS else None


def ids_of(classes: Classes, categories: Mapping[int, str], where: str) -> dict[int, tuple[str, ...]]:
    """The same by id alone. Raises SegPerceptionError for a name that no category has."""
    found: dict[int, tuple[str, ...]] = {}
    for key, names in classes.items():
        if isinstance(key, int):
            if not 0 <= key <= VOID:
                raise SegPerceptionError(f"{where} has no id {key}, of which `classes` speaks: ids are 0 to {VOID}")
            found[key] = names
            continue
        ids = [number for number, name in categories.items() if plain(name) == plain(key)]
        if not ids:
            told = nearest_name(key, categories.values()) if categories else "its categories have no names, write ids"
            raise SegPerceptionError(f"{where} has no category '{key}', of which `classes` speaks: {told}")
        found.update(dict.fromkeys(ids, names))
    return found


def match_categories(categories: Mapping[int, str], labels: LabelSet) -> tuple[Meaning, list[str]]:
    """In classes of labels what each category may be, none where nothing is like it; and of those a sentence each."""
    words = {number: meant_by(name, labels) for number, name in categories.items()}
    unlike = [_why_unlike(categories[number], labels) for number, found in words.items() if found is None]
    return classes_in(labels, {number: found or () for number, found in words.items()}), unlike


def _why_unlike(name: str, labels: LabelSet) -> str:
    """Cause and remedy, with the line to write."""
    near = HINTS.get(plain(name)) or next(iter(_near(plain(name), (*labels.names, *CONCEPTS))), "")
    if not near:
        near = HINTS.get(next(iter(_near(plain(name), HINTS)), ""), "")
    classes = classes_in(labels, {0: (near,)})[0] if near else ()
    key = name if re.fullmatch(r"[^\W\d][\w ]*", name) and name.lower() not in _YAML_WORDS else yaml_quoted(name)
    if classes:
        asked = f"did you mean '{near}'? write `classes: {{{key}: [{', '.join(classes)}]}}`, or `[]` to leave it out"
    else:
        asked = f"write `classes: {{{key}: [NAME]}}` with one of {', '.join(labels.names)}, or `[]` to leave it out"
    return f"the category '{name}' is no class of the label set and no word that data sets share: {asked}"


def yaml_quoted(name: str) -> str:
    """A text as YAML writes it in single quotes."""
    return "'" + name.replace("'", "''") + "'"


def _near(name: str, known: tuple[str, ...] | Mapping[str, str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
