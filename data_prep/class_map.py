"""A class map of the user's own: a TOML file that sorts the emotions of a release into classes.

    [classes]
    negative = ["anger", "contempt", "disgust", "fear", "sadness"]
    positive = ["happiness"]
    surprise = ["surprise"]
    left_out = ["other"]

    [casme2]
    negative = ["disgust", "fear", "repression", "sadness"]
    positive = ["happiness"]
    surprise = ["surprise"]
    left_out = ["others"]

The order of the classes is that of the section `classes`. A section with the name of a database
replaces `classes` for that database; it may use these classes only, and need not use all. Emotions
are compared in lower case. Every emotion of a release must be in a class or in `left_out`.

The configuration holds the content of the file rather than its path, as one line of TOML (`text`):
an edited file gives another set and another run, and a run does not need the file afterwards.
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import functools
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.common import check
from data_prep.common.errors import UserError

FIELD = "config.data.classes"
SUFFIX = ".toml"
FILE = "classes.toml"  # Name of the copy in the folder of a run.
CLASSES, LEFT_OUT = "classes", "left_out"
# Data sets whose clips have emotions; each may have a section of its own.
DATABASES = ("smic", "samm", "casme2", "casme3", "mmew", "folder")
# Keys that are certainly not meant as a class.
_MISTAKEN_FOR_LEFT_OUT = ("drop", "dropped", "exclude", "excluded", "ignore", "ignored", "leftout")
_CLASS_NAME = re.compile(r"\w[\w -]*")  # Class names become columns of CSV files.
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_paths: dict[str, str] = {}  # Text of each map read from a file -> the file, for error messages.

Section = Mapping[str, tuple[str, ...]]  # Class, or `LEFT_OUT` -> emotions in lower case.


class ClassMapError(UserError):
    """A mistake in a class map, as opposed to one in a release."""


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """A class map.

    Attributes:
      sections: `CLASSES`, or the name of a database -> its classes and the emotions left out.
    """

    sections: Mapping[str, Section]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, ordered by index."""
        return tuple(name for name in self.sections[CLASSES] if name != LEFT_OUT)

    @property
    def text(self) -> str:
        """The content as one line of TOML; equal for files that mean the same."""
        return _inline((name, _inline(_format(keys))) for name, keys in self.sections.items())

    def to_toml(self) -> str:
        """Return the content as a file of TOML."""
        return "\n".join(
            "\n".join([f"[{name}]", *(f"{_key(key)} = {words}" for key, words in _format(keys))])
            + "\n"
            for name, keys in self.sections.items()
        )

    def section_name(self, database: str) -> str:
        """Return the name of the section that holds for a database."""
        return database if database in self.sections else CLASSES

    def section_text(self, database: str) -> str:
        """Return the part of the content that holds for a database, as one line of TOML."""
        return _inline(_format(self._section(database)))

    def emotions(self, database: str) -> dict[str, list[str]]:
        """Return class -> its emotions in a database; an empty list if it has none there."""
        section = self._section(database)
        return {name: list(section.get(name, ())) for name in self.class_names}

    def check_emotions(
        self, database: str, clips: Mapping[str, int], valid: Collection[str]
    ) -> None:
        """Raise ClassMapError unless the map sorts every emotion of a release.

        Args:
          database: Name of the database.
          clips: Emotion of the release, in lower case -> number of its clips.
          valid: Emotions of any database. A class may hold these and those of the release, and no
            others. Emotions that are left out are not checked.
        """
        section = self._section(database)
        listed = {word for words in section.values() for word in words}
        unlisted = [word for word in clips if word and word not in listed]
        unknown = [
            (name, word)
            for name in self.class_names
            for word in section.get(name, ())
            if word not in valid and word not in clips
        ]
        problems = []
        if unlisted:
            counts = ", ".join(f"{word!r} ({clips[word]} clips)" for word in sorted(unlisted))
            problems.append(f"{database} has emotions that are in no class: {counts}")
        for name, word in unknown:
            matches = difflib.get_close_matches(word, [*unlisted, *sorted({*valid, *clips})], n=1)
            hint = f" (did you mean {matches[0]!r}?)" if matches else ""
            problems.append(f"{word!r} in {name!r} is no emotion of {database}{hint}")
        if problems:
            raise self._error(self.section_name(database), "; ".join(problems), _remedy(unlisted))

    def _section(self, database: str) -> Section:
        return self.sections[self.section_name(database)]

    def _error(self, section: str, problem: str, remedy: str) -> ClassMapError:
        return _error(_paths.get(self.text, FIELD), section, problem, remedy)


def is_file(value: str) -> bool:
    """Return whether a value of `config.data.classes` names a file."""
    return value.lower().endswith(SUFFIX) and not is_text(value)


def is_text(value: str) -> bool:
    """Return whether a value of `config.data.classes` is the content of a map."""
    return value.lstrip().startswith("{")


def is_own(value: str) -> bool:
    """Return whether a value of `config.data.classes` is a map of the user's own."""
    return is_text(value) or is_file(value)


def read(value: str) -> ClassMap:
    """Read a class map.

    Args:
      value: Path of a TOML file, or the `text` of a map.

    Raises:
      ClassMapError: The file or its content cannot be used. The message names file, key and fix.
    """
    if is_text(value):
        return _parse_text(value)
    path = Path(value).expanduser()
    class_map = _parse(value, _read_file(path))
    _paths[class_map.text] = value
    return class_map


@functools.cache
def _parse_text(text: str) -> ClassMap:
    try:
        content = tomllib.loads(f"map = {text}")
    except tomllib.TOMLDecodeError as error:
        raise ClassMapError(
            f"{FIELD}: not one line of TOML ({error}). Fix: give the path of a file, "
            f"--{FIELD}=my_classes.toml"
        ) from error
    if set(content) != {"map"}:
        raise ClassMapError(f"{FIELD}: more than one line. Fix: give the path of a file.")
    return _parse(FIELD, content["map"])


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ClassMapError(
            f"{path}: no such file ({FIELD}). Fix: correct the path. If a run was made with the "
            f"file, its folder holds a copy: --{FIELD}=RUN/{FILE}"
        )
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        if repeated := _repeated_key(text):
            raise ClassMapError(f"{path}, {repeated}. Fix: write it once.") from error
        raise ClassMapError(
            f'{path}: not valid TOML ({error}). Fix: write lines such as positive = ["happiness"] '
            f"below a line [{CLASSES}]."
        ) from error
    except UnicodeDecodeError as error:
        raise ClassMapError(f"{path}: not text in UTF-8. Fix: save it as UTF-8.") from error
    except OSError as error:
        raise ClassMapError(
            f"{path}: cannot be read ({error.strerror}). Fix: correct the path or its permissions."
        ) from error


def _repeated_key(text: str) -> str:
    """Describe the first section or key that a file has twice; '' if there is none.

    The error of tomllib does not name it.
    """
    section, lines = "", {}
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        key = re.match(r"\s*(\"[^\"]*\"|'[^']*'|[\w-]+)\s*=", line)
        if header:
            section, name = header[1], f"[{header[1]}] is"
        elif key:
            name = f"[{section}]: {key[1]} is listed"
        else:
            continue
        first = lines.setdefault(name, number)
        if first != number:
            return f"{name} twice, in lines {first} and {number}"
    return ""


def _parse(place: str, content: Mapping[str, Any]) -> ClassMap:
    """Check the content of a map.

    Args:
      place: File or field, for the messages.
      content: Parsed TOML.
    """
    sections = (CLASSES, *DATABASES)
    for name, section in content.items():
        if not isinstance(section, Mapping):
            remedy = f"move it below a line [{CLASSES}]."
            raise ClassMapError(f"{place}: {name} is outside a section. Fix: {remedy}")
        if name not in sections:
            message = check.unknown_message("section", name, sections)
            raise ClassMapError(f"{place}: {message} Fix: correct the name.")
    if CLASSES not in content:
        raise ClassMapError(
            f"{place}: no section [{CLASSES}]. Fix: add it; it names the classes in their order."
        )
    order = [CLASSES, *(name for name in DATABASES if name in content)]
    parsed = {name: _parse_section(place, name, content[name]) for name in order}
    names = [name for name in parsed[CLASSES] if name != LEFT_OUT]
    _check_classes(place, names, parsed)
    for name in order[1:]:  # The order of the classes is that of [classes] everywhere.
        keys = [key for key in (*names, LEFT_OUT) if key in parsed[name]]
        parsed[name] = {key: parsed[name][key] for key in keys}
    return ClassMap(parsed)


def _parse_section(place: str, name: str, section: Mapping[str, Any]) -> Section:
    parsed = {
        key: _parse_emotions(place, name, key, words)
        for key, words in section.items()
        if key != LEFT_OUT
    }
    # Last, wherever the file has it, so that it does not count for the order.
    if LEFT_OUT in section:
        parsed[LEFT_OUT] = _parse_emotions(place, name, LEFT_OUT, section[LEFT_OUT])
    keys: dict[str, str] = {}  # Emotion -> its class.
    for key, words in parsed.items():
        for word in words:
            if word in keys:
                raise _error(
                    place,
                    name,
                    f"the emotion {word!r} is in {keys[word]!r} and in {key!r}",
                    "keep it in one of them.",
                )
            keys[word] = key
    return parsed


def _parse_emotions(place: str, section: str, key: str, words: Any) -> tuple[str, ...]:
    plain = key.lower().replace("_", "").replace("-", "")
    if key != LEFT_OUT and plain in _MISTAKEN_FOR_LEFT_OUT:
        raise _error(
            place,
            section,
            f"{key!r} would be a class",
            f"list emotions to leave out under {LEFT_OUT}; if it is a class, rename it.",
        )
    if not _CLASS_NAME.fullmatch(key):
        raise _error(
            place,
            section,
            f"{key!r} is no name of a class",
            "use letters, digits, spaces, - and _.",
        )
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise _error(
            place,
            section,
            f"{key} is {words!r}, not a list of emotions",
            f'write {key} = ["happiness"]',
        )
    emotions = [word.strip().lower() for word in words]
    twice = [word for word, count in collections.Counter(emotions).items() if count > 1]
    if twice:
        raise _error(
            place, section, f"{key} has the emotion {twice[0]!r} twice", "keep one of them."
        )
    if not emotions and key != LEFT_OUT:
        raise _error(place, section, f"{key} has no emotion", "add one, or remove the line.")
    if "" in emotions:
        raise _error(place, section, f"{key} has a blank emotion", "remove it.")
    return tuple(sorted(emotions))


def _check_classes(place: str, names: list[str], parsed: Mapping[str, Section]) -> None:
    """Check the number of classes, their spelling, and the sections of databases."""
    if len(names) < 2:
        raise _error(
            place,
            CLASSES,
            f"{', '.join(names) or 'nothing'} is all there is; a class map needs two classes",
            "add a class.",
        )
    spellings: dict[str, str] = {}
    for name in names:
        first = spellings.setdefault(name.lower(), name)
        if first != name:
            raise _error(
                place,
                CLASSES,
                f"the class {first!r} is listed twice, as {name!r} too",
                "write its emotions in one list.",
            )
    for section, keys in parsed.items():
        for key in keys:
            if key not in (*names, LEFT_OUT):
                message = check.unknown_message("class", key, (*names, LEFT_OUT))
                remedy = f"use the classes of [{CLASSES}]."
                raise _error(place, section, message.rstrip("."), remedy)


def _error(place: str, section: str, problem: str, remedy: str) -> ClassMapError:
    return ClassMapError(f"{place}, [{section}]: {problem}. Fix: {remedy}")


def _remedy(unlisted: Collection[str]) -> str:
    if unlisted:
        return f"add every emotion to a class, or to {LEFT_OUT}, which leaves its clips out."
    return "correct the emotion, or remove it."


def _format(section: Section) -> Iterator[tuple[str, str]]:
    """Yield each key of a section, and its emotions as a list of TOML."""
    for key, words in section.items():
        yield key, f"[{', '.join(map(_string, words))}]"


def _inline(items: Iterable[tuple[str, str]]) -> str:
    """Format an inline table of TOML."""
    return "{" + ", ".join(f"{_key(key)} = {value}" for key, value in items) + "}"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _string(word: str) -> str:
    """Format a string of TOML, if possible without escapes: JSON adds its own."""
    plain = "'" not in word and word.isprintable()
    return f"'{word}'" if plain else json.dumps(word, ensure_ascii=False)
