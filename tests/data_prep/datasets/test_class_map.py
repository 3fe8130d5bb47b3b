"""A class map of the user's own: what the file may hold, what readers make of it, what is kept."""

import json
import pickle
from collections import Counter

import pytest

from data_prep import class_map
from data_prep import config as data_config
from data_prep.class_map import ClassMapError
from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base.about import database_info
from data_prep.datasets.base.source import listing
from data_prep.pipeline import prepare, release_check
from data_prep.synthetic.release import tree
from data_prep.synthetic.release.layouts import LAYOUTS
from helpers import ROOT
from mser_jax import export
from mser_jax.config.defaults import get_config
from mser_jax.config.validation import validate
from mser_jax.experiments import workdir

EXAMPLE = ROOT / "configs" / "classes.toml"
NAMES = tuple(LAYOUTS)
TWO = """
[classes]
low = ["negative", "Anger ", "contempt", "disgust", "fear", "sadness", "sad", "repression"]
high = ["positive", "happiness", "happy", "surprise"]
left_out = ["other", "others", "confusion", "neutral", "tense", "helpless"]
"""


def configured(dataset, root="", **data):
    config = get_config(dataset, "all" if dataset == "megc2019" else "smoke")
    config.data.update({"manual_dir": str(root)} | data)
    return config


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """The folder of the release of each database, and the emotion of each of its clips."""
    folder = tmp_path_factory.mktemp("releases")
    return {
        name: (folder / name, tree.write(name, folder / name, subjects=1, clips=5, size=64).clips)
        for name in NAMES
    }


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_sorts_the_clips_as_the_file_says(name, releases, file):
    root, clips = releases[name]
    low, *rest = sorted({word.lower() for word in clips.values()})
    high, left_out = rest[:-1], rest[-1]
    text = f"[classes]\nright = {json.dumps([word.upper() for word in high])}\n"
    text += f"left_out = [{json.dumps(left_out)}]\nwrong = [{json.dumps(f' {low} ')}]\n"
    config = configured(name, root, classes=file(text))
    data_config.validate(config)
    source = registry.source(config)
    labels = {clip: word.lower() for clip, word in clips.items() if word.lower() != left_out}
    expected = {clip: "wrong" if word == low else "right" for clip, word in labels.items()}
    entries = source.entries()
    assert {entry.name: entry.label for entry in entries} == expected
    assert source.class_names == registry.class_names(config) == ("right", "wrong")
    assert listing(source).clips == Counter(expected.values())
    lost = [repair for repair in listing(source).repairs if repair.field == "row"]
    assert {repair.clip for repair in lost} == {*clips} - {*expected}
    assert left_out in listing(source).facts["classes"]
    assert pickle.loads(pickle.dumps(source)).entries() == entries  # workers load from it


def test_sections_of_databases_replace_the_classes(releases, file):
    parts = {name: releases[name] for name in tree.COMPOSITE}
    clips = {clip: word for _, words in parts.values() for clip, word in words.items()}
    sections = '[casme2]\nlow = ["disgust"]\nleft_out = ["happiness", "surprise", "others", '
    sections += '"repression", "fear", "sadness"]\n'
    roots = {name: str(root) for name, (root, _) in parts.items()}
    config = configured("composite", classes=file(TWO + sections), parts=roots)
    data_config.validate(config)
    source = registry.source(config)
    own = class_map.read(config.data.classes)
    expected = Counter()
    for clip, emotion in clips.items():
        name = clip.partition("/")[0]
        for label, words in own.emotions(name).items():
            expected[f"{name}/{label}"] += emotion.lower() in words
    entries = source.entries()
    counts = Counter(f"{entry.dataset}/{entry.label}" for entry in entries)
    assert counts == +expected
    assert not counts["casme2/high"]
    assert counts["casme2/low"]
    assert source.class_names == ("low", "high")
    assert listing(source).facts["casme2/classes"] == own.section_text("casme2")
    assert listing(source).facts["samm/classes"] == own.section_text("samm")


def test_the_example_has_the_classes_of_megc_2019():
    for name in set(NAMES) - {"folder"}:
        info = database_info(name)
        words = {word for words in info.emotions("emotion").values() for word in words}
        ours = {label: words & {*own} for label, own in info.emotions(str(EXAMPLE)).items()}
        expected = {label: {*own} for label, own in info.emotions("megc2019").items()}
        assert ours == expected, name
        assert [*ours] == [*expected]
        own_map = class_map.read(str(EXAMPLE))
        assert words <= {word for words in own_map._section(name).values() for word in words}


def test_databases_are_those_with_emotions():
    assert {*class_map.DATABASES} == {*registry.SOURCES} - {"synthetic", "composite", "megc2019"}


def test_every_emotion_of_the_release_must_be_listed(releases, file):
    root, clips = releases["samm"]
    text = '[classes]\nlow = ["hapiness"]\nhigh = ["surprise", "wrath"]\n'
    path = file(text)
    config = configured("samm", root, classes=path)
    data_config.validate(config)
    with pytest.raises(ClassMapError) as caught:
        registry.source(config).entries()
    message = str(caught.value)
    counts = Counter(word.lower() for word in clips.values())
    assert message.startswith(f"{path}, [classes]: samm has emotions that are in no class: ")
    for word, count in counts.items():
        assert (f"{word!r} ({count} clips)" in message) == (word != "surprise")
    assert "'hapiness' in 'low' is no emotion of samm (did you mean 'happiness'?)" in message
    assert "'wrath' in 'high' is no emotion" in message
    assert "Fix: add every emotion to a class, or to left_out" in message
    roots = {name: str(releases[name][0]) for name in tree.COMPOSITE}
    composite = configured("composite", classes=path, parts=roots)
    data_config.validate(composite)
    with pytest.raises(UserError, match="smic has emotions") as caught:
        registry.source(composite).entries()
    assert "--config.data.parts" not in str(caught.value)  # nothing is missing


def test_a_typing_error_is_found_where_all_is_listed(releases, file):
    words = sorted({word.lower() for word in releases["samm"][1].values()} - {"happiness"})
    text = f'[classes]\nlow = {json.dumps(words)}\nhigh = ["happiness", "wrath"]\n'
    config = configured("samm", releases["samm"][0], classes=file(text))
    with pytest.raises(ClassMapError, match=r"'wrath' in 'high' .* Fix: correct the emotion"):
        registry.source(config).entries()


FAULTS = {
    'positive = ["happiness"]': "positive is outside a section. Fix: move it below a line",
    '[clases]\na = ["b"]': "unknown section 'clases'. Did you mean 'classes'?",
    '[samm]\na = ["b"]\nc = ["d"]': "no section [classes]",
    '[classes]\na = ["b"]': "[classes]: a is all there is; a class map needs two classes",
    '[classes]\nleft_out = ["b"]': "[classes]: nothing is all there is",
    '[classes]\na = ["b"]\nc = "d"': "[classes]: c is 'd', not a list of emotions",
    '[classes]\na = ["b"]\nc = []': "[classes]: c has no emotion",
    '[classes]\na = ["b"]\nc = [" "]': "[classes]: c has a blank emotion",
    '[classes]\na = ["b"]\nc = ["d", "D "]': "[classes]: c has the emotion 'd' twice",
    '[classes]\na = ["b"]\nc = ["B"]': "[classes]: the emotion 'b' is in 'a' and in 'c'. Fix: keep",
    '[classes]\na = ["b"]\nc = ["d"]\nleft_out = ["d"]': "'d' is in 'c' and in 'left_out'",
    '[classes]\na = ["b"]\na = ["d"]': "[classes]: a is listed twice, in lines 2 and 3",
    '[classes]\na = ["b"]\nA = ["d"]': "the class 'a' is listed twice, as 'A' too",
    '[classes]\na = ["b"]\nc = ["d"]\ndrop = ["e"]': "'drop' would be a class. Fix: list emotions",
    '[classes]\na = ["b"]\n"c,d" = ["d"]': "'c,d' is no name of a class",
    '[classes]\na = ["b"]\nc = ["d"]\n[samm]\nC = ["d"]': "[samm]: unknown class 'C'. One of: a, c",
    '[classes]\na = ["b"]\n[classes]\nc = ["d"]': "[classes] is twice, in lines 1 and 3",
    "[classes]\na = happiness": "not valid TOML (Invalid value (at line 2, column 5))",
}


@pytest.mark.parametrize(("text", "reason"), FAULTS.items())
def test_a_mistake_is_named_with_file_key_and_fix(text, reason, file):
    path = file(text)
    with pytest.raises(UserError) as caught:
        validate(configured("samm", classes=path))
    message = str(caught.value)
    assert message.startswith(path)
    assert reason in message
    assert "Fix: " in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for name, content, reason in (
        ("absent.toml", None, "no such file (config.data.classes). Fix: correct the path"),
        ("latin.toml", "[classes]\ngefühl = ['b']".encode("latin-1"), "not text in UTF-8"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            validate(configured("samm", classes=str(path)))
        assert str(caught.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("dataset", "value", "reason"),
    [
        ("megc2019", "mine.toml", "have the classes of MEGC 2019"),
        ("synthetic", "mine.toml", "synthetic clips always have the same four classes"),
        ("samm", "mine.txt", "neither the name of a map nor a file of TOML"),
        ("samm", "{a = ['b'", "config.data.classes: not one line of TOML"),
    ],
)
def test_where_a_map_makes_no_sense_it_is_refused(dataset, value, reason):
    with pytest.raises(UserError, match=r"config\.data\.classes") as caught:
        validate(configured(dataset, classes=value))
    assert reason in str(caught.value)


def test_the_content_counts_and_not_the_file(releases, file):
    root, _ = releases["smic"]

    def identify(path):
        """The name of the prepared set, and the folder of the run."""
        config = configured("smic", root, classes=path)
        validate(config)
        source = registry.source(config)
        name = prepare.fingerprint(source, source.entries(), config.prep.to_dict())
        return name, workdir.default_workdir(config)

    text = '[classes]\nlow = ["negative"]\nhigh = ["positive", "surprise"]\n'
    first = identify(file(text))
    moved = "# The same.\n\n" + text.replace('"positive", "surprise"', '"Surprise","positive"')
    assert identify(file(moved, "moved.toml")) == first
    swapped = '[classes]\nhigh = ["positive", "surprise"]\nlow = ["negative"]\n'
    joined = '[classes]\nlow = ["negative", "surprise"]\nhigh = ["positive"]\n'
    others = [identify(file(text)) for text in (swapped, joined)]
    sets, runs = ({*part} for part in zip(first, *others))
    assert len(sets) == len(runs) == 3


def test_a_run_needs_no_file_afterwards(releases, file, tmp_path, capsys):
    root, _ = releases["samm"]
    path = file(TWO)
    folder = tmp_path / "run"
    config = configured("samm", root, classes=path)
    validate(config)
    workdir.open_workdir(config, str(folder))
    stored = json.loads((folder / "config.json").read_text())["data"]["classes"]
    assert class_map.read(stored).class_names == ("low", "high")
    (tmp_path / "mine.toml").unlink()
    entries = registry.source(config).entries()
    stored_config = workdir.read_config(folder)  # as export reads it
    assert registry.class_names(stored_config) == ("low", "high")
    assert registry.source(stored_config).entries() == entries

    again = configured("samm", root, classes=path)  # the same command
    with pytest.raises(UserError, match="its folder holds a copy"):
        validate(again)
    workdir.restore_class_map(again, str(folder))
    assert "no such file. The copy in the folder of the run is used" in capsys.readouterr().out
    validate(again)
    (folder / "predictions.csv").touch()  # trained: other settings would be refused
    workdir.open_workdir(again, str(folder))
    copy = configured("samm", root, classes=str(folder / "classes.toml"))
    validate(copy)
    assert workdir.default_workdir(copy) == workdir.default_workdir(config)
    edited = configured("samm", root, classes=file(TWO.replace('"contempt", ', "")))
    validate(edited)
    with pytest.raises(UserError, match=r"data\.classes: the run has \{classes = "):
        workdir.open_workdir(edited, str(folder))


def test_check_shows_the_classes_and_the_map(releases, file):
    root, clips = releases["smic"]
    lines = []
    config = configured("smic", root, classes=file(TWO), landmarks_dir=str(root / "landmarks"))
    with pytest.raises(UserError, match="clips of one subject only"):
        release_check.check(config, lines.append)
    text = "\n".join(lines)
    low = sum(word == "negative" for word in clips.values())
    assert ["low", str(low)] in [line.split()[:2] for line in text.splitlines()]
    assert "  classes    {low = ['anger', " in text
    assert max(len(line) for line in text.splitlines() if str(root) not in line) <= 79


def test_an_exported_command_has_no_folder_of_this_machine():
    command = "python -m mser_jax.main --config=configs/samm.py --config.data.classes={}mine.toml"
    assert export._command_without_paths(command.format("/home/me/")) == command.format("")
