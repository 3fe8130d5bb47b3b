"""The page of a movement: what is on it, what is not, and that it needs nothing from outside."""

import base64
import dataclasses
import re

import cv2
import numpy as np
import pytest

from data_prep.common.errors import UserError
from data_prep.preview import flow_colour
from helpers.made_answers import movement
from mser_jax.predict.explain import page as reason_page
from mser_jax.predict.explain import pictures as reason_pictures
from mser_jax.predict.explain.gradcam import Reason
from mser_jax.report import wording

STEPS, SIZE, MARGIN, HEADS = 4, 24, 3, 4
CLASSES = ("happiness", "surprise", "others")
SECTIONS = (
    *("What each head says", "Key frames", "Flow and strain", "Where the network looked for"),
    *("When it looked there", "Attention", "Branches", "How to read this, and what it cannot tell"),
)


def record(**changes):
    random = np.random.default_rng(0)
    side = SIZE + 2 * MARGIN
    return {
        "frames": random.integers(0, 256, (STEPS + 1, side, side, 1), dtype=np.uint8),
        "flow": random.normal(0, 1, (STEPS, side, side, 2)).astype(np.float16),
        "positions": np.array([0, 2, 5, 7, 10], np.float32),
        **{"apex_index": 2, "fps": 100.0},
    } | changes


def reason(**changes):
    random = np.random.default_rng(1)
    sees = np.arange(HEADS)[:, None] + np.arange(4) <= 4
    cams = random.uniform(0, 1, (HEADS, 4, STEPS, SIZE, SIZE)).astype(np.float32)
    cams *= sees[:, :, None, None, None]
    logits = random.normal(0, 1, (HEADS, 3))
    fields = {
        **{"target": 1, "logits": logits, "cams": cams, "uses_stage": sees},
        "probabilities": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "sizes": ((2, 6, 6), (1, 3, 3), (1, 2, 2), (1, 1, 1)),
        "time_weights": np.linspace(0.2, 0.7, STEPS),
        "space_weights": random.uniform(0.4, 0.6, (12, 12)),
        "branches": {"RC1": (("1x1x1", 0.7), ("global average", 0.3))},
    }
    return Reason(**fields | changes)


def answer(**changes):
    heads = tuple({name: 1 / 3 for name in CLASSES} for _ in range(HEADS))
    return movement(10, 15, 20, **{"heads": heads, "head": 3} | changes)


@pytest.fixture
def write(tmp_path):
    """Writes a page and reads it."""

    def written(of=None, made=None, why=None, title="somebody.mp4", **options):
        path = tmp_path / "reason.html"
        given = of or answer(), made or record(), why or reason()
        reason_page.write(path, *given, title=title, **options)
        return path.read_text(encoding="utf-8")

    return written


def pictures(text):
    """By what stands for each where it cannot be shown, BGR."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)">', text)
    assert len(found) == text.count("<img")
    decoded = {}
    for data, alt in found:
        raw = np.frombuffer(base64.b64decode(data), np.uint8)
        decoded[alt] = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    return decoded


def words(text):
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL).split())


def test_the_sections_come_in_order(write):
    text = write()
    titles = re.findall(r"<h2>([^<]+)</h2>", text)
    assert len(titles) == len(SECTIONS)
    assert all(title.startswith(wanted) for title, wanted in zip(titles, SECTIONS))
    assert titles[3].endswith("surprise")
    assert words(text).endswith(f"{wording.WARNING} {wording.SYNTHETIC}")


def test_the_list_of_contents_leads_to_every_section(write):
    text = write()
    contents = re.search(r'<nav aria-label="Contents">(.*?)</nav>', text, re.DOTALL)
    assert contents
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', contents[1])
    assert links == re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)</h2>', text)
    assert len(links) == len(SECTIONS)


def test_the_page_needs_nothing_from_outside_and_runs_nothing(write):
    text = write()
    assert "<script" not in text
    assert not re.search(r"https?:|javascript:|url\(|\son\w+=|<link|<iframe|@import", text)
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64,|#)', text)
    assert "default-src 'none'" in text


def test_texts_are_escaped(write):
    bad = "<b onclick=x>&"
    names = {bad: 0.6, "others": 0.4}
    of = answer(label=bad, probabilities=names, heads=(names,) * HEADS, notes=(bad,))
    text = write(of, why=reason(target=0), title=bad, temperature_note=bad)
    assert bad not in text
    assert text.count("&lt;b onclick=x&gt;&amp;") >= 6


def test_the_answered_class_is_in_the_first_column_and_marked(write):
    heads = tuple(
        dict(zip(CLASSES, (at / 10, 0.9 - at / 10 - 0.05, 0.15))) for at in range(1, HEADS + 1)
    )
    given = answer(heads=heads)
    grid = re.search(r'<div class="scroll heads".*?</table>', write(given), re.DOTALL)
    assert grid
    header, *rows = re.findall(r"<tr.*?</tr>", grid[0], re.DOTALL)
    shown = ["surprise", "happiness", "others"]
    assert re.findall(r"<th[^>]*>([^<]*)</th>", header) == ["", *shown]
    assert re.findall(r'class="answered">([^<]+)<', header) == ["surprise"]
    assert len(rows) == HEADS + 1
    for row, probabilities in zip(rows, (*given.heads, given.probabilities)):
        wanted = [f"{probabilities[name]:.1%}" for name in shown]
        assert re.findall(r"<td[^>]*>([^<]+)<", row) == wanted
        assert re.findall(r'<td class="answered">([^<]+)<', row) == wanted[:1]


def test_a_head_is_explained_before_the_first_is_named(write):
    text = words(write())
    explained = text.index("A head is one of the network's outputs")
    assert text.index("What each head says", text.index("How to read this")) < explained
    assert explained < text.index("Head 3 answers") < text.index("head 1, on X5")


def test_the_header_says_what_when_and_how_sure(write):
    text = words(write())
    assert "surprise Confidence 62.0% . Not calibrated" in text
    assert "onset 0:00.33 (frame 10) apex, estimated 0:00.50 (frame 15)" in text
    assert "movement at the apex 0.50 px" in text
    text = words(
        write(temperature_note="Scaled by a temperature of 1.4.", of=answer(notes=("A.",)))
    )
    assert "Confidence 62.0% . Scaled by a temperature of 1.4." in text
    assert "Not calibrated" not in text
    assert " A. " in text


@pytest.mark.parametrize(
    ("head", "rule", "told"),
    [
        (3, "confidence", "Head 3 answers: it gives the highest probability to any class"),
        (2, "train_loss", "Head 2 answers: it had the lowest loss on the clips of the training"),
        (2, "", "Head 2 answers. "),
        (None, "mean", "The answer is the mean of the heads"),
    ],
)
def test_it_is_said_which_head_answers_and_why(write, head, rule, told):
    assert told in words(write(answer(head=head), rule=rule))


def test_pictures_are_what_lies_in_the_networks_window(write):
    made, why, seen = record(), reason(), pictures(write())
    inside = slice(MARGIN, MARGIN + SIZE)
    for at, frame in enumerate(made["frames"]):
        np.testing.assert_array_equal(seen[f"Key frame {at}"][..., 0], frame[inside, inside, 0])
    lengths = np.hypot(*np.moveaxis(made["flow"][:, inside, inside].astype(np.float32), -1, 0))
    colours = flow_colour.colours(
        made["flow"][1, inside, inside], float(np.quantile(lengths, 0.99))
    )
    np.testing.assert_array_equal(seen["Flow at step 2"], colours[..., ::-1])
    apex = made["frames"][2, inside, inside, 0]
    wanted = reason_pictures.overlay_heat(apex, why.cams[1, 2].max(axis=0))
    np.testing.assert_array_equal(seen["Grad-CAM of head 2 at X4"], wanted[..., ::-1])
    wanted = reason_pictures.overlay_heat(made["frames"][3, inside, inside, 0], why.cams[2, 0, 2])
    np.testing.assert_array_equal(seen["Grad-CAM at step 3"], wanted[..., ::-1])
    assert "Grad-CAM at step 2" not in seen  # X2 has two entries for four steps
    assert {f"Strain at step {step}" for step in range(1, STEPS + 1)} <= set(seen)


def test_a_map_covers_the_face_where_it_is_strong():
    face = np.full((2, 2), 100, np.uint8)
    heat = np.array([[0.0, 0.2], [0.6, 1.0]])
    laid = reason_pictures.overlay_heat(face, heat).astype(int)
    np.testing.assert_array_equal(laid[0, 0], [100, 100, 100])
    away = np.abs(laid - 100).sum(axis=-1).ravel()
    assert (np.diff(away) > 0).all()


def test_what_a_head_does_not_see_is_told_apart_from_nothing_found(write):
    why = reason()
    why.cams[0, 1] = 0
    text = words(write(why=why))
    assert text.count("the head does not see this stage") == 3
    assert text.count("nothing here speaks for the class") == 1
    assert "X3: nothing here" in text


def test_without_faces_no_picture_depends_on_them(write):
    other = record(frames=255 - record()["frames"])
    plain = write(faces=False)
    assert plain == write(made=other, faces=False)
    assert write() != write(made=other)
    assert not any(alt.startswith("Key frame") for alt in pictures(plain))
    assert "drawn over plain grey" in words(plain)
    assert "<h2>Key frames</h2>" not in plain


def test_a_network_with_none_of_the_parts(write):
    whole = reason()
    why = dataclasses.replace(
        whole,
        **{"cams": whole.cams[:1], "uses_stage": whole.uses_stage[:1], "branches": {}},
        **{"probabilities": whole.probabilities[:1], "logits": whole.logits[:1]},
        **{"time_weights": None, "space_weights": None},
    )
    text = words(write(answer(heads=answer().heads[:1], head=1), why=why))
    for told in ("has no attention", "has no RC modules", "has one head", "the only head, on X5"):
        assert told in text


def test_cascaded_heads_are_named_by_what_they_see(write):
    plain = words(write())
    cascaded = words(write(why=reason(uses_stage=np.ones((HEADS, 4), bool))))
    for name in ("head 3, on head 2&#39;s map with X3", "head 4, on head 3&#39;s map with X2"):
        assert name in cascaded
        assert name not in plain
    assert "head 4, on X3 with X2" in plain


@pytest.mark.parametrize("apex", [-1, 0])
def test_without_an_apex_among_the_steps(write, apex):
    text = words(write(made=record(apex_index=apex)))
    assert ("key frame in the middle" in text) == (apex < 0)


def test_what_the_network_sees_is_said(write):
    assert "no picture of the face: movement to the right (u), strain." in words(
        write(channels=("u", "strain"))
    )
    assert "sees the key frames themselves" in words(write(channels=()))


def test_the_limits_name_the_sizes_of_the_maps(write):
    text = words(write())
    assert "The input has 4 time steps x 24 x 24 pixels. The stages have fewer entries" in text
    assert (
        "entries: X2 has 2 x 6 x 6; X3 has 1 x 3 x 3; X4 has 1 x 2 x 2; X5 has 1 x 1 x 1." in text
    )
    assert "Adebayo" in text


def test_weights_below_zero_have_bars_too(write):
    branches = {"RC1": (("1x1x1", -0.4), ("3x3x3", 0.9))}
    chart = pictures(write(why=reason(branches=branches)))["Weights of the branches of RC1"]
    assert chart.shape[0] > 100


def test_a_page_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        reason_page.write(tmp_path / "no" / "a.html", answer(), record(), reason(), title="x")
